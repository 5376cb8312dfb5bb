"""Train the demo language model: tokenizer, config, then weights. One CPU thread is enough.

    python3 train_lm.py [--out DIR] [--steps N] [--minutes M]
    python3 train_lm.py --drill --tame 0.01 --lr 1.2e-3 --steps 4000    # then the finishing run

Text is generated on the fly, so no sentence order is ever repeated."""
import argparse
import json
import math
import os
import time

import torch
import torch.nn.functional as F

import bpe
import llama
import safetensors_io
from corpus import SPECIALS, Corpus, END

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 2048, "hidden_size": 192,
    "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 24,
    "hidden_act": "silu", "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
    "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False, "attention_dropout": 0.0, "initializer_range": 0.02,
    "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32", "use_cache": True,
}
CHAT_TEMPLATE = ("{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] + '<|end|>' }}"
                 "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + '<|end|>' }}{% endif %}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def write_tokenizer(out):
    c = Corpus(seed=1)
    texts = [t for _ in range(20000) for special, t in c.document() if not special]
    texts += [t.lower() for t in texts[:2000]]
    merges = bpe.train(texts, CONFIG["vocab_size"] - 256 - len(SPECIALS))
    n = bpe.save(f"{out}/tokenizer.json", merges, SPECIALS)
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|end|>", "add_bos_token": False,
               "model_max_length": 512, "clean_up_tokenization_spaces": False, "chat_template": CHAT_TEMPLATE},
              open(f"{out}/tokenizer_config.json", "w"), indent=1)
    return n


def batches(corpus, tok, tokens):
    """Batches of documents of similar length, about `tokens` tokens each, padded on the right."""
    while True:
        pool = sorted((tok.encode_doc(corpus.document())[:384] for _ in range(400)), key=len)
        group, out = [], []
        for ids in pool:
            if group and (len(group) + 1) * len(ids) > tokens:
                out.append(group)
                group = []
            group.append(ids)
        out.append(group)
        corpus.g.rng.shuffle(out)
        for g in out:
            T = max(map(len, g))
            yield torch.tensor([x + [-1] * (T - len(x)) for x in g])


def loss_of(w, x, tame=0.0):
    """Cross entropy; `tame` adds a penalty on activations beyond +-16, which fixed-point arithmetic likes."""
    y, seen = x[:, 1:], [] if tame else None
    z = llama.forward(w, CONFIG, x[:, :-1].clamp(min=0), seen)
    loss = F.cross_entropy(z.reshape(-1, z.shape[-1]), y.reshape(-1), ignore_index=-1)
    return loss + tame * sum((t.float().abs() - 16).relu().pow(2).mean() for t in seen) if tame else loss


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="../demo-lm")
    ap.add_argument("--steps", type=int, default=9000)
    ap.add_argument("--minutes", type=float, default=1e9, help="finish early, within this wall time")
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--drill", action="store_true", help="continue a finished run with the finishing mixture")
    ap.add_argument("--stop", type=int, default=1 << 30, help="stop after this many steps of the schedule")
    ap.add_argument("--tame", type=float, default=0.0, help="weight of the penalty on large activations")
    ap.add_argument("--tokens", type=int, default=1536)
    a = ap.parse_args()
    torch.set_num_threads(1)
    os.makedirs(a.out, exist_ok=True)
    t0 = time.time()
    if not a.drill:
        CONFIG["vocab_size"] = write_tokenizer(a.out)
        json.dump(CONFIG, open(f"{a.out}/config.json", "w"), indent=1)
    tok = bpe.Tokenizer(f"{a.out}/tokenizer.json")
    if a.drill:
        w = {k: torch.from_numpy(v) for k, v in safetensors_io.load(f"{a.out}/model.safetensors").items()}
    else:
        w = llama.init(CONFIG, seed=1)
    print("tokenizer", CONFIG["vocab_size"], f"{time.time() - t0:.0f}s, parameters", sum(p.numel() for p in w.values()), flush=True)
    for p in w.values():
        p.requires_grad_()
    opt = torch.optim.AdamW([{"params": [p for p in w.values() if p.dim() == 2], "weight_decay": 0.1},
                             {"params": [p for p in w.values() if p.dim() == 1], "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.98))
    val = [b for _, b in zip(range(12), batches(Corpus(seed=99, held=True), tok, 2048))]
    data = batches(Corpus(seed=3 if a.drill else 2, drill=a.drill), tok, a.tokens)
    t0, seen, run = time.time(), 0, 0.0

    def save():
        safetensors_io.save(f"{a.out}/model.safetensors.part", {k: p.detach().numpy() for k, p in w.items()})
        os.replace(f"{a.out}/model.safetensors.part", f"{a.out}/model.safetensors")

    step = 0
    while True:
        done = max(step / a.steps, (time.time() - t0) / 60 / a.minutes)
        if done >= 1 or step >= a.stop:
            break
        lr = a.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in opt.param_groups:
            group["lr"] = lr
        x = next(data)
        with torch.autocast("cpu", torch.bfloat16, enabled=done < 0.85):   # bf16 matmuls first, float32 to finish
            loss = loss_of(w, x, a.tame)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1.0)
        opt.step()
        step += 1
        seen += int((x >= 0).sum())
        run = loss.item() if step == 1 else 0.98 * run + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step} loss {run:.4f} lr {lr:.5f} tokens {seen} time {time.time() - t0:.0f}s", flush=True)
        if step % 500 == 0:
            save()
            with torch.no_grad():
                print(f"step {step} val {sum(loss_of(w, b).item() for b in val) / len(val):.4f}", flush=True)
            for p in ("Once upon a time", "<|user|>Tell me a story about a fox and a lantern.<|end|><|assistant|>", "<|user|>What is the capital of France?<|end|><|assistant|>"):
                print("   >", p, tok.decode(llama.generate(w, CONFIG, tok.encode_with_specials(p), 90, tok.special[END])), flush=True)
    save()
    print(f"done: {step} steps, {seen} tokens, {time.time() - t0:.0f}s")


if __name__ == "__main__":
    main()
