"""
One measurement of PEFT for the bench: the checkpoint, data and settings that bench.ts wrote, a plain training loop in
float32. B starts at zero and weights come from the checkpoint, so that the first loss is the same as the engine's.

    python peft_bench.py FOLDER max_length|longest|grouped DROPOUT STEPS
"""
import json
import resource
import sys
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

folder, padding, dropout, steps = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
experiment = json.load(open(f"{folder}/bench.lora.json"))
training, lora = experiment["training"], experiment["lora"]
rows = [json.loads(line) for line in open(f"{folder}/train.jsonl")]
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/bert-base")
model = AutoModelForSequenceClassification.from_pretrained(f"{folder}/bert-base", num_labels=2)
model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=lora["r"], lora_alpha=lora["lora_alpha"], lora_dropout=dropout, target_modules=lora["target_modules"]))
model.train()
trained = [value for value in model.parameters() if value.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=training["learning_rate"], weight_decay=0.0)
batch = training["per_device_train_batch_size"]
if padding == "grouped":
    rows.sort(key=lambda row: len(row["text"].split()))
batches = [rows[i:i + batch] for i in range(0, len(rows), batch)]
losses, tokens, examples, begun = [], 0, 0, 0.0
for step in range(steps):
    if padding == "grouped":
        # Short and long batches in turn, so that few steps see the whole range.
        chosen = batches[(step * 7) % len(batches)]
    else:
        chosen = batches[step % len(batches)]
    encoded = tokenizer([row["text"] for row in chosen], padding="max_length" if padding == "max_length" else "longest", truncation=True, max_length=128, return_tensors="pt")
    loss = model(**encoded, labels=torch.tensor([row["label"] for row in chosen])).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    if step == 0:
        print("first step", flush=True)
        begun = time.perf_counter()
    else:
        tokens += int(encoded["attention_mask"].sum())
        examples += len(chosen)
seconds = time.perf_counter() - begun
print(json.dumps(dict(
    tokens_per_second=tokens / seconds, examples_per_second=examples / seconds, losses=losses,
    peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
)))
