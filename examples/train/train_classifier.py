"""Train the demo sentiment classifier: WordPiece vocabulary, config, weights, held-out file.

    python3 train_classifier.py [--out DIR] [--steps N] [--minutes M]"""
import argparse
import json
import math
import os
import random
import time

import torch
import torch.nn.functional as F

import bert
import safetensors_io
import wordpiece
from corpus import Corpus
from reviews import Reviews

CONFIG = {
    "architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": 2000, "hidden_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 384, "hidden_act": "gelu", "max_position_embeddings": 128, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "position_embedding_type": "absolute", "pad_token_id": 0,
    "initializer_range": 0.02, "id2label": {"0": "NEGATIVE", "1": "POSITIVE"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1},
    "problem_type": "single_label_classification", "torch_dtype": "float32",
}


def pad(rows):
    T = max(map(len, rows))
    return torch.tensor([r + [0] * (T - len(r)) for r in rows])


def read_tsv(path):
    rows = [line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8")]
    return [(s, label == "POSITIVE") for s, label in rows]


@torch.no_grad()
def accuracy(w, tok, rows):
    bad = []
    for i in range(0, len(rows), 100):
        part = rows[i:i + 100]
        z = bert.forward(w, CONFIG, pad([tok.encode(s) for s, _ in part])).argmax(-1).tolist()
        bad += [(s, p) for (s, p), y in zip(part, z) if y != p]
    return 1 - len(bad) / len(rows), bad


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="../demo-classifier")
    ap.add_argument("--steps", type=int, default=10000)
    ap.add_argument("--minutes", type=float, default=1e9, help="finish early, within this wall time")
    ap.add_argument("--lr", type=float, default=1e-3)
    ap.add_argument("--resume", action="store_true", help="continue from the weights in --out with fresh sentences")
    ap.add_argument("--seed", type=int, default=2, help="seed of the training sentences")
    ap.add_argument("--dev", default=None, help="another labelled file to report on while training")
    a = ap.parse_args()
    torch.set_num_threads(1)
    os.makedirs(a.out, exist_ok=True)
    r = Reviews(seed=1)
    stories = Corpus(seed=4)     # a little story text, so that everyday words get pieces too
    texts = [r.sentence()[0] for _ in range(60000)] + [t for _ in range(500) for special, t in stories.document() if not special]
    if a.resume:
        vocab = open(f"{a.out}/vocab.txt", encoding="utf-8").read().splitlines()
    else:
        vocab = wordpiece.train(texts, CONFIG["vocab_size"])
        wordpiece.save(a.out, vocab)
    CONFIG["vocab_size"] = len(vocab)
    json.dump(CONFIG, open(f"{a.out}/config.json", "w"), indent=1)
    tok = wordpiece.Tokenizer(vocab)
    w = bert.init(CONFIG, seed=1)
    if a.resume:
        w = {k: torch.from_numpy(v) for k, v in safetensors_io.load(f"{a.out}/model.safetensors").items()}
    print("vocabulary", len(vocab), "parameters", sum(p.numel() for p in w.values()), flush=True)
    for p in w.values():
        p.requires_grad_()
    opt = torch.optim.AdamW([{"params": [p for p in w.values() if p.dim() == 2], "weight_decay": 0.05},
                             {"params": [p for p in w.values() if p.dim() == 1], "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.98))
    tests = {h: [x.sentence() for _ in range(1000)] for h in ("words", "templates") for x in [Reviews(77, h)]}
    if a.dev:
        tests["dev"] = read_tsv(a.dev)
    rng = random.Random(6)
    r, t0, step, run = Reviews(seed=a.seed), time.time(), 0, 0.7
    while True:
        done = max(step / a.steps, (time.time() - t0) / 60 / a.minutes)
        if done >= 1:
            break
        for group in opt.param_groups:
            group["lr"] = a.lr * min(1, (step + 1) / 200) * 0.5 * (1.02 + math.cos(math.pi * done))
        rows = [r.sentence() for _ in range(64)]
        x, y = pad([tok.encode(s, rng, 0.12) for s, _ in rows]), torch.tensor([int(p) for _, p in rows])
        loss = F.cross_entropy(bert.forward(w, CONFIG, x, 0.1), y, label_smoothing=0.02)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1.0)
        opt.step()
        step += 1
        run = 0.99 * run + 0.01 * loss.item()
        if step % 500 == 0:
            print(f"step {step} loss {run:.4f} time {time.time() - t0:.0f}s", {k: round(accuracy(w, tok, v)[0], 4) for k, v in tests.items()}, flush=True)
        if step % 1000 == 0:
            safetensors_io.save(f"{a.out}/model.safetensors", {k: p.detach().numpy() for k, p in w.items()})
    safetensors_io.save(f"{a.out}/model.safetensors", {k: p.detach().numpy() for k, p in w.items()})
    print(f"done: {step} steps, {time.time() - t0:.0f}s", {k: round(accuracy(w, tok, v)[0], 4) for k, v in tests.items()})


if __name__ == "__main__":
    main()
