"""Seconds of chains of BERT-base's feed-forward products in torch, as products.ts describes them: python products.py '{"LAYERS": 12, ...}'"""
import json
import statistics
import sys
import time

import torch

sizes = json.loads(sys.argv[1])
torch.manual_seed(0)
result = {}
with torch.no_grad():
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        up = [torch.randn(sizes["INNER"], sizes["WIDTH"], dtype=dtype) / sizes["WIDTH"] ** 0.5 for _ in range(sizes["LAYERS"])]
        down = [torch.randn(sizes["WIDTH"], sizes["INNER"], dtype=dtype) / sizes["INNER"] ** 0.5 for _ in range(sizes["LAYERS"])]
        result[name] = {"forward": {}, "backward": {}}
        for direction, seconds in result[name].items():
            for tokens in sizes["TOKENS"]:
                times = []
                for _ in range(sizes["REPEATS"] + 2):
                    x = torch.randn(tokens, sizes["WIDTH"], dtype=dtype)
                    begun = time.perf_counter()
                    for a, b in zip(up, down):
                        x = torch.nn.functional.linear(torch.nn.functional.linear(x, a), b) if direction == "forward" else (x @ b) @ a
                    times.append(time.perf_counter() - begun)
                seconds[tokens] = statistics.median(times[2:])
print(json.dumps(result))
