"""
One measurement of PEFT for the bench: the checkpoint, data and settings that bench.ts wrote, a plain training loop in
float32. B starts at zero and weights come from the checkpoint, so that the first loss is the same as the engine's.

    python peft_bench.py FOLDER max_length|longest|grouped [counts_first]
"""
import json
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast, logging

folder, padding = sys.argv[1:3]
counts_first = sys.argv[3:] == ["counts_first"]
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
experiment = json.load(open(f"{folder}/bench.lora.json"))
training, lora, task = experiment["training"], experiment["lora"], experiment["task"]
base = f"{folder}/{experiment['base_model']}"
rows = [json.loads(line) for line in open(f"{folder}/train.jsonl")]
if task == "SEQ_CLS":
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
else:
    # AutoTokenizer would build Qwen2's own tokenizer, whatever tokenizer.json says.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)
model = get_peft_model(model, LoraConfig(task_type=task, **lora))
model.train()


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
        input_ids=torch.tensor([fill(ids, 0) for ids, _ in chosen]),
        attention_mask=torch.tensor([fill([1] * len(ids), 0) for ids, _ in chosen]),
        labels=torch.tensor([label if task == "SEQ_CLS" else fill(label, -100) for _, label in chosen]),
    )


trained = [value for value in model.parameters() if value.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=training["learning_rate"], weight_decay=0.0)
examples = [encode(row) for row in rows]
if padding == "grouped":
    examples.sort(key=lambda example: len(example[0]))
batch = training["per_device_train_batch_size"]
batches = [examples[i:i + batch] for i in range(0, len(examples), batch)]
losses, tokens, count, begun = [], 0, 0, time.perf_counter()
for step in range(training["max_steps"]):
    # Short and long batches in turn, so that few steps see the whole range.
    chosen = collate(batches[(step * 7 if padding == "grouped" else step) % len(batches)])
    loss = model(**chosen).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    if step == 0:
        print("first step", flush=True)
    if step == 0 and not counts_first:
        begun = time.perf_counter()
    else:
        tokens += int(chosen["attention_mask"].sum())
        count += len(chosen["labels"])
seconds = time.perf_counter() - begun
print(json.dumps(dict(
    tokens_per_second=tokens / seconds, examples_per_second=count / seconds, losses=losses,
    peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
)))
