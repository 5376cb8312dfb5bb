#!/usr/bin/python3
"""One figure of PyTorch on one of the named shapes, as a peer of `stip-bench speed`.

Random weights, eager modules written plainly: layer norms and RMS norms, rotary or learned positions, grouped-query attention,
a KV cache, the head for the last row of each sequence only. Prints {"tok_s": X} of the best of `--runs` after one warm-up.
Needs Debian's python3-torch.
"""
import argparse
import json
import math
import time

import torch
from torch import nn
from torch.nn import functional as F

SHAPES = {
    "gpt2-124m": dict(kind="gpt2", D=768, H=12, G=12, L=12, F=3072, V=50257, positions=1024),
    "llama-110m": dict(kind="llama", D=768, H=12, G=12, L=12, F=2048, V=32000, positions=1024),
    "tinyllama-1.1b": dict(kind="llama", D=2048, H=32, G=4, L=22, F=5632, V=32000, positions=2048),
    "bert-base": dict(kind="bert", D=768, H=12, G=12, L=12, F=3072, V=2, positions=512),
}


class RMSNorm(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(D))

    def forward(self, x):
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + 1e-5)).to(x.dtype) * self.weight


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s, self.K = s, s["D"] // s["H"]
        llama = s["kind"] == "llama"
        norm = RMSNorm if llama else nn.LayerNorm
        self.norm1, self.norm2 = norm(s["D"]), norm(s["D"])
        self.qkv = nn.Linear(s["D"], (s["H"] + 2 * s["G"]) * self.K, bias=not llama)
        self.out = nn.Linear(s["D"], s["D"], bias=not llama)
        self.up = nn.Linear(s["D"], s["F"] * (2 if llama else 1), bias=not llama)
        self.down = nn.Linear(s["F"], s["D"], bias=not llama)

    def attend(self, x, cache, at, rope):
        s, B, T = self.s, x.shape[0], x.shape[1]
        q, k, v = self.qkv(x).split([s["H"] * self.K, s["G"] * self.K, s["G"] * self.K], dim=-1)
        q = q.view(B, T, s["H"], self.K).transpose(1, 2)
        k = k.view(B, T, s["G"], self.K).transpose(1, 2)
        v = v.view(B, T, s["G"], self.K).transpose(1, 2)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            cache[0][:, :, at:at + T], cache[1][:, :, at:at + T] = k, v
            k, v = cache[0][:, :, :at + T], cache[1][:, :, :at + T]
        # The query heads of one group share its keys: they become rows of one product.
        group = s["H"] // s["G"]
        q = q.reshape(B, s["G"], group * T, self.K)
        scores = torch.matmul(q, k.transpose(2, 3)) / math.sqrt(self.K)
        if s["kind"] != "bert" and T > 1:
            mask = torch.full((T, at + T), float("-inf"), dtype=scores.dtype).triu(at + 1)
            scores = (scores.view(B, s["G"], group, T, -1) + mask).view(B, s["G"], group * T, -1)
        y = torch.matmul(torch.softmax(scores, dim=-1), v)
        return self.out(y.view(B, s["H"], T, self.K).transpose(1, 2).reshape(B, T, s["D"]))

    def feed(self, x):
        if self.s["kind"] == "llama":
            gate, up = self.up(x).chunk(2, dim=-1)
            return self.down(F.silu(gate) * up)
        return self.down(F.gelu(self.up(x), approximate="tanh" if self.s["kind"] == "gpt2" else "none"))

    def forward(self, x, cache, at, rope):
        if self.s["kind"] == "bert":
            x = self.norm1(x + self.attend(x, cache, at, rope))
            return self.norm2(x + self.feed(x))
        x = x + self.attend(self.norm1(x), cache, at, rope)
        return x + self.feed(self.norm2(x))


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s, self.K = s, s["D"] // s["H"]
        self.embed = nn.Embedding(30522 if s["kind"] == "bert" else s["V"], s["D"])
        if s["kind"] != "llama":
            self.position = nn.Embedding(s["positions"], s["D"])
        else:
            angle = torch.outer(torch.arange(s["positions"]).float(), 10000 ** (-torch.arange(0, self.K, 2).float() / self.K))
            self.cos, self.sin = angle.cos(), angle.sin()
        self.layers = nn.ModuleList(Layer(s) for _ in range(s["L"]))
        self.norm = RMSNorm(s["D"]) if s["kind"] == "llama" else nn.LayerNorm(s["D"])
        self.head = nn.Linear(s["D"], s["V"], bias=False)

    def cache(self, B, tokens):
        if self.s["kind"] == "bert":
            return [None] * self.s["L"]
        dtype = self.head.weight.dtype
        return [tuple(torch.zeros(B, self.s["G"], tokens, self.K, dtype=dtype) for _ in range(2)) for _ in range(self.s["L"])]

    def forward(self, ids, caches, at):
        T, rope = ids.shape[1], None
        x = self.embed(ids)
        if self.s["kind"] == "llama":
            rope = self.cos[at:at + T].to(x.dtype), self.sin[at:at + T].to(x.dtype)
        else:
            x = x + self.position(torch.arange(at, at + T))
        for layer, cache in zip(self.layers, caches):
            x = layer(x, cache, at, rope)
        return self.head(self.norm(x[:, -1])).argmax(-1, keepdim=True)


def build(s, dtype):
    # Parameters are made in the wanted type and filled cheaply: their values do not change the time, denormals would.
    for init in ("kaiming_uniform_", "uniform_", "normal_"):
        setattr(nn.init, init, lambda t, *a, **k: t)
    torch.set_default_dtype(dtype)
    model = Model(s)
    torch.set_default_dtype(torch.float32)
    pattern = (torch.rand(1 << 20) - 0.5) * 0.05
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                flat, n = p.view(-1), p.numel()
                for i in range(0, n, 1 << 20):
                    flat[i:i + (1 << 20)] = pattern[:min(1 << 20, n - i)]
            else:
                p.fill_(1.0 if p.shape[0] == s["D"] else 0.0)
    return model.eval()


def measure(model, s, args):
    vocab = model.embed.weight.shape[0]
    first = args.tokens if args.phase == "prefill" else 1
    ids = torch.randint(0, vocab, (args.batch, first))
    caches = model.cache(args.batch, args.tokens)
    start = time.monotonic()
    if args.phase == "prefill":
        model(ids, caches, 0)
    else:
        for at in range(args.tokens):
            ids = model(ids, caches, at)
    return args.batch * args.tokens / (time.monotonic() - start)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", choices=SHAPES, required=True)
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    p.add_argument("--phase", choices=("prefill", "decode"), default="prefill")
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--batch", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--runs", type=int, default=1)
    args = p.parse_args()
    s = SHAPES[args.shape]
    if args.tokens > s["positions"]:
        p.error("--tokens: %d, the shape takes %d" % (args.tokens, s["positions"]))
    if args.phase == "decode" and s["kind"] == "bert":
        p.error("--phase decode: %s does not generate" % args.shape)
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        model = build(s, torch.bfloat16 if args.dtype == "bf16" else torch.float32)
        measure(model, s, args)
        best = max(measure(model, s, args) for _ in range(args.runs))
    print(json.dumps({"tok_s": best}))


main()
