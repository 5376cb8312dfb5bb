"""Distil the demo classifier into one whose layers compute what a secret-sharing system can: the functions of MPCFormer or SecFormer.

    python3 distil_classifier.py --form mpcformer|secformer --out DIR [--steps N]

Embedding and head stay as they are (they are the user's, in plain); the layers learn the teacher's hidden rows. The functions are those of
bench/baselines/smpc: 2Quad softmax for both, and Quad or the sine series for GeLU."""
import argparse
import json
import math
import os
import shutil
import time

import torch
import torch.nn.functional as F

import safetensors_io
import wordpiece
from reviews import Reviews
from train_classifier import pad

BETA = (1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029)


def quad(x):
    return 0.125 * x * x + 0.25 * x + 0.5


def fourier(x):
    u = x / math.sqrt(2)
    inside = sum(b * torch.sin((k + 1) * math.pi / 10 * u) for k, b in enumerate(BETA))
    return x / 2 * (1 + torch.where(u.abs() <= 1.7, inside, u.sign()))


def quad_softmax(x, seen):
    q = (x + 5) ** 2 * seen
    return q / q.sum(-1, keepdim=True)


def layers(w, c, ids, act, softmax):
    """Hidden rows after the embedding and after each layer."""
    B, T = ids.shape
    H, D = c["num_attention_heads"], c["hidden_size"]
    lin = lambda x, n: F.linear(x, w[n + ".weight"], w[n + ".bias"])
    norm = lambda x, n: F.layer_norm(x, (D,), w[n + ".weight"], w[n + ".bias"], c["layer_norm_eps"])
    e = "bert.embeddings."
    x = norm(w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:T] + w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
    seen = (ids != 0)[:, None, None, :].to(x.dtype)
    heads = lambda y: y.view(B, T, H, D // H).transpose(1, 2)
    rows = [x]
    for l in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{l}."
        q, k, v = (heads(lin(x, f"{p}attention.self.{n}")) for n in ("query", "key", "value"))
        a = softmax(q @ k.transpose(-1, -2) / math.sqrt(D // H), seen)
        o = (a @ v).transpose(1, 2).reshape(B, T, D)
        x = norm(x + lin(o, p + "attention.output.dense"), p + "attention.output.LayerNorm")
        x = norm(x + lin(act(lin(x, p + "intermediate.dense")), p + "output.dense"), p + "output.LayerNorm")
        rows.append(x)
    return rows


def logits(w, rows):
    lin = lambda x, n: F.linear(x, w[n + ".weight"], w[n + ".bias"])
    return lin(torch.tanh(lin(rows[-1][:, 0], "bert.pooler.dense")), "classifier")


def exact_softmax(x, seen):
    return x.masked_fill(seen == 0, float("-inf")).softmax(-1)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--form", choices=("mpcformer", "secformer"), required=True)
    ap.add_argument("--model", default="../demo-classifier")
    ap.add_argument("--out", required=True)
    ap.add_argument("--steps", type=int, default=3000)
    ap.add_argument("--minutes", type=float, default=1e9, help="finish early, within this wall time")
    ap.add_argument("--lr", type=float, default=1e-3)
    a = ap.parse_args()
    torch.set_num_threads(1)
    act = quad if a.form == "mpcformer" else fourier
    c = json.load(open(f"{a.model}/config.json"))
    tok = wordpiece.Tokenizer(open(f"{a.model}/vocab.txt", encoding="utf-8").read().splitlines())
    teacher = {k: torch.from_numpy(v) for k, v in safetensors_io.load(f"{a.model}/model.safetensors").items()}
    w = {k: v.clone() for k, v in teacher.items()}
    learned = [p for k, p in w.items() if ".encoder." in k]
    for p in learned:
        p.requires_grad_()
    opt = torch.optim.AdamW(learned, lr=a.lr, betas=(0.9, 0.98), weight_decay=0.01)
    r, t0, step = Reviews(seed=21), time.time(), 0
    unseen = Reviews(seed=78)
    test = pad([tok.encode(unseen.sentence()[0]) for _ in range(500)])
    while True:
        done = max(step / a.steps, (time.time() - t0) / 60 / a.minutes)
        if done >= 1:
            break
        for group in opt.param_groups:
            group["lr"] = a.lr * min(1, (step + 1) / 100) * 0.5 * (1.02 + math.cos(math.pi * done))
        x = pad([tok.encode(r.sentence()[0]) for _ in range(64)])
        seen = (x != 0)[:, :, None].to(torch.float32)
        with torch.no_grad():
            want = layers(teacher, c, x, F.gelu, exact_softmax)
            want_z = logits(teacher, want)
        got = layers(w, c, x, act, quad_softmax)
        # The first row is what the head reads; the others matter for what the next layer reads.
        hidden = sum((((g - t) ** 2) * seen).sum() / seen.sum() / c["hidden_size"] for g, t in zip(got[1:], want[1:]))
        loss = hidden + ((got[-1][:, 0] - want[-1][:, 0]) ** 2).mean() + 0.1 * F.mse_loss(logits(w, got), want_z)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        opt.step()
        step += 1
        if step % 250 == 0:
            with torch.no_grad():
                agree = (logits(w, layers(w, c, test, act, quad_softmax)).argmax(-1) == logits(teacher, layers(teacher, c, test, F.gelu, exact_softmax)).argmax(-1))
            print(f"step {step} loss {loss.item():.4f} hidden {hidden.item():.4f} agrees {agree.float().mean().item():.4f} time {time.time() - t0:.0f}s", flush=True)
    os.makedirs(a.out, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(f"{a.model}/{name}", a.out)
    safetensors_io.save(f"{a.out}/model.safetensors", {k: p.detach().numpy() for k, p in w.items()})


if __name__ == "__main__":
    main()
