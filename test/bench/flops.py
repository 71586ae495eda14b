"""
What torch.utils.flop_counter counts of a training step of PEFT on BERT-base, which test/engine/operations.test.ts holds the engine's count to.
Random weights of BERT-base's shape, 16 texts of 128 tokens, r = 8 on query and value; operations of products depend on no value, and nothing is downloaded.

    python test/bench/flops.py
"""
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

EXAMPLES, LENGTH = 16, 128
model = BertForSequenceClassification(BertConfig(attn_implementation="eager"))
model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])).train()
ids = torch.randint(5, 30000, (EXAMPLES, LENGTH))
batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.arange(EXAMPLES) % 2)
with FlopCounterMode(display=False) as forward:
    loss = model(**batch).loss
with FlopCounterMode(display=False) as backward:
    loss.backward()
print(f"million operations a token: forward {forward.get_total_flops() / EXAMPLES / LENGTH / 1e6:.3f}, backward {backward.get_total_flops() / EXAMPLES / LENGTH / 1e6:.3f}")
