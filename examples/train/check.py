"""Check the torch models against a second, independent float64 implementation in numpy (explicit loops, textbook formulas)."""
import json
import math

import numpy as np
import torch

import bert
import llama
import safetensors_io
from eval import load


def llama_np(w, c, ids):
    D, H, G, T = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"], len(ids)
    hd = D // H
    rms = lambda x, g: x / np.sqrt((x * x).mean() + c["rms_norm_eps"]) * g
    x = [w["model.embed_tokens.weight"][i] for i in ids]

    def rope(v, pos):            # element i of the first half turns with element i of the second half
        out = v.copy()
        for i in range(hd // 2):
            t = pos / c["rope_theta"] ** (2 * i / hd)
            a, b = v[i], v[i + hd // 2]
            out[i], out[i + hd // 2] = a * math.cos(t) - b * math.sin(t), b * math.cos(t) + a * math.sin(t)
        return out

    for l in range(c["num_hidden_layers"]):
        W = lambda n: w[f"model.layers.{l}.{n}.weight"]
        n = [rms(v, W("input_layernorm")) for v in x]
        q = [[rope(h, t) for h in (W("self_attn.q_proj") @ n[t]).reshape(H, hd)] for t in range(T)]
        k = [[rope(h, t) for h in (W("self_attn.k_proj") @ n[t]).reshape(G, hd)] for t in range(T)]
        v = [(W("self_attn.v_proj") @ n[t]).reshape(G, hd) for t in range(T)]
        for t in range(T):
            o = np.zeros((H, hd))
            for h in range(H):
                g = h * G // H
                s = np.array([q[t][h] @ k[u][g] / math.sqrt(hd) for u in range(t + 1)])
                p = np.exp(s - s.max())
                o[h] = sum(pi * v[u][g] for u, pi in enumerate(p / p.sum()))
            x[t] = x[t] + W("self_attn.o_proj") @ o.ravel()
            m = rms(x[t], W("post_attention_layernorm"))
            gate = W("mlp.gate_proj") @ m
            x[t] = x[t] + W("mlp.down_proj") @ (gate / (1 + np.exp(-gate)) * (W("mlp.up_proj") @ m))
    return w["model.embed_tokens.weight"] @ rms(x[-1], w["model.norm.weight"])


def bert_np(w, c, ids):
    H, D, T = c["num_attention_heads"], c["hidden_size"], len(ids)
    hd = D // H
    lin = lambda x, n: x @ w[n + ".weight"].T + w[n + ".bias"]

    def norm(x, n):
        d = x - x.mean(-1, keepdims=True)
        return d / np.sqrt((d * d).mean(-1, keepdims=True) + c["layer_norm_eps"]) * w[n + ".weight"] + w[n + ".bias"]

    e = "bert.embeddings."
    x = np.stack([w[e + "word_embeddings.weight"][i] + w[e + "position_embeddings.weight"][t] + w[e + "token_type_embeddings.weight"][0] for t, i in enumerate(ids)])
    x = norm(x, e + "LayerNorm")
    for l in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{l}."
        q, k, v = (lin(x, f"{p}attention.self.{n}").reshape(T, H, hd) for n in ("query", "key", "value"))
        o = np.zeros((T, H, hd))
        for h in range(H):
            s = q[:, h] @ k[:, h].T / math.sqrt(hd)
            s = np.exp(s - s.max(-1, keepdims=True))
            o[:, h] = s / s.sum(-1, keepdims=True) @ v[:, h]
        x = norm(x + lin(o.reshape(T, D), p + "attention.output.dense"), p + "attention.output.LayerNorm")
        f = lin(x, p + "intermediate.dense")
        f = f * 0.5 * (1 + np.vectorize(math.erf)(f / math.sqrt(2)))
        x = norm(x + lin(f, p + "output.dense"), p + "output.LayerNorm")
    return lin(np.tanh(lin(x[0], "bert.pooler.dense")), "classifier")


if __name__ == "__main__":
    for path, ours, theirs in (("../demo-lm", llama.forward, llama_np), ("../demo-classifier", bert.forward, bert_np)):
        c, w = load(path, torch.float64)
        n = {k: v.astype(np.float64) for k, v in safetensors_io.load(f"{path}/model.safetensors").items()}
        worst = 0.0
        for case in json.load(open(f"{path}/expected.json"))["cases"]:
            with torch.no_grad():
                z = ours(w, c, torch.tensor([case["input_ids"]]))[0]
            z = (z[-1] if z.dim() == 2 else z).numpy()
            worst = max(worst, np.abs(z - theirs(n, c, case["input_ids"])).max())
        print(path, "largest difference", worst)
        assert worst < 1e-9
