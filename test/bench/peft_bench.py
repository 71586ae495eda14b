"""
One measurement of PEFT for the bench: the checkpoint, data and settings that bench.ts wrote, a plain training loop. B starts
at zero and weights come from the checkpoint, so that the first loss is the same as the engine's.

    python peft_bench.py FOLDER max_length|longest|grouped [--batch EXAMPLES] [--warm-up STEPS] [--device cpu|cuda] [--precision fp32|tf32|bf16]

tf32 lets a card round the factors of its float32 products, bf16 is torch.autocast around the forward pass, bf16-base the same with
frozen weights in bfloat16, too. What is trained is float32 in all of them, cache and optimizer are as transformers' Trainer has them.
"""
import argparse
import contextlib
import json
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast, logging

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("padding", choices=["max_length", "longest", "grouped"])
parser.add_argument("--batch", type=int)
parser.add_argument("--warm-up", type=int, default=1)
parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
parser.add_argument("--precision", choices=["fp32", "tf32", "bf16", "bf16-base"], default="fp32")
arguments = parser.parse_args()
folder, padding, warm_up, device = arguments.folder, arguments.padding, arguments.warm_up, arguments.device
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = arguments.precision == "tf32"
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
experiment = json.load(open(f"{folder}/bench.lora.json"))
training, lora, task = experiment["training"], experiment["lora"], experiment["task"]
base = f"{folder}/{experiment['base_model']}"
rows = [json.loads(line) for line in open(f"{folder}/train.jsonl")]
dtype = torch.bfloat16 if arguments.precision == "bf16-base" else torch.float32
if task == "SEQ_CLS":
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, dtype=dtype)
else:
    # AutoTokenizer would build Qwen2's own tokenizer, whatever tokenizer.json says.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    # A cache of keys and values is of no use in training, and copies them in every layer.
    model.config.use_cache = False
model = get_peft_model(model, LoraConfig(task_type=task, **lora))
model.to(device).train()


def encode(row: dict) -> tuple[list[int], list[int] | int]:
    """Tokens of an example, and its class or the label of each token."""
    if task == "SEQ_CLS":
        return tokenizer(row["text"], truncation=True, max_length=training["max_length"])["input_ids"], row["label"]
    prompt = tokenizer(row.get("prompt", ""))["input_ids"]
    learned = tokenizer(row.get("completion", row.get("text")))["input_ids"] + [tokenizer.eos_token_id]
    return prompt + learned, [-100] * len(prompt) + learned


def collate(chosen: list[tuple]) -> dict:
    width = training["max_length"] if padding == "max_length" else max(len(ids) for ids, _ in chosen)
    fill = lambda values, value: values + [value] * (width - len(values))
    return dict(
        input_ids=torch.tensor([fill(ids, 0) for ids, _ in chosen], device=device),
        attention_mask=torch.tensor([fill([1] * len(ids), 0) for ids, _ in chosen], device=device),
        labels=torch.tensor([label if task == "SEQ_CLS" else fill(label, -100) for _, label in chosen], device=device),
    )


trained = [value for value in model.parameters() if value.requires_grad]
# PEFT does so for adapters, not for a new head.
for value in trained:
    value.data = value.data.float()
optimizer = torch.optim.AdamW(trained, lr=training["learning_rate"], weight_decay=0.0, fused=True)
examples = [encode(row) for row in rows]
if padding == "grouped":
    examples.sort(key=lambda example: len(example[0]))
batch = arguments.batch or training["per_device_train_batch_size"]
batches = [examples[i:i + batch] for i in range(0, len(examples), batch)]
assert padding != "grouped" or len(batches) % 7, "every batch must have its turn"
autocast = (lambda: torch.autocast(device, torch.bfloat16)) if arguments.precision.startswith("bf16") else contextlib.nullcontext
losses, tokens, count, begun = [], 0, 0, time.perf_counter()
for step in range(training["max_steps"]):
    # Short and long batches in turn, so that few steps see the whole range, and a pass all of them.
    chosen = collate(batches[(step * 7 if padding == "grouped" else step) % len(batches)])
    with autocast():
        loss = model(**chosen).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    if step == 0:
        print("first step", flush=True)
    # Reading the loss has waited for the device.
    if step < warm_up:
        begun = time.perf_counter()
    else:
        tokens += int(chosen["attention_mask"].sum())
        count += len(chosen["labels"])
seconds = time.perf_counter() - begun
print(json.dumps(dict(
    tokens_per_second=tokens / seconds, examples_per_second=count / seconds, losses=losses,
    peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
)))
