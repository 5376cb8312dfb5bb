"""A plain torch Llama (grouped-query attention, rotate_half RoPE, SwiGLU, tied embeddings).

Parameters are kept in a dict under their Hugging Face names."""
import math

import torch
import torch.nn.functional as F


def init(c, seed):
    torch.manual_seed(seed)
    D, I, L = c["hidden_size"], c["intermediate_size"], c["num_hidden_layers"]
    hd = D // c["num_attention_heads"]
    kv = hd * c["num_key_value_heads"]
    w = {"model.embed_tokens.weight": torch.randn(c["vocab_size"], D) * 0.02, "model.norm.weight": torch.ones(D)}
    for l in range(L):
        p = f"model.layers.{l}."
        for name, shape in (("self_attn.q_proj", (D, D)), ("self_attn.k_proj", (kv, D)), ("self_attn.v_proj", (kv, D)), ("self_attn.o_proj", (D, D)),
                            ("mlp.gate_proj", (I, D)), ("mlp.up_proj", (I, D)), ("mlp.down_proj", (D, I))):
            std = 1 / math.sqrt(shape[1])
            if name.endswith(("o_proj", "down_proj")):
                std /= math.sqrt(2 * L)
            w[p + name + ".weight"] = torch.randn(shape) * std
        w[p + "input_layernorm.weight"] = torch.ones(D)
        w[p + "post_attention_layernorm.weight"] = torch.ones(D)
    return w


def rms_norm(x, g, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * g


def rotate_half(x):
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


def forward(w, c, ids, seen=None):
    """ids: [batch, time] -> logits [batch, time, vocab], in the dtype of the weights.
    If `seen` is a list, the residual stream and the MLP activations are appended to it."""
    B, T = ids.shape
    H, G, eps = c["num_attention_heads"], c["num_key_value_heads"], c["rms_norm_eps"]
    hd = c["hidden_size"] // H
    emb = w["model.embed_tokens.weight"]
    x = emb[ids]
    freq = c["rope_theta"] ** (-torch.arange(0, hd, 2, dtype=torch.float64) / hd)
    ang = torch.outer(torch.arange(T, dtype=torch.float64), freq)
    ang = torch.cat((ang, ang), -1)
    cos, sin = ang.cos().to(x.dtype), ang.sin().to(x.dtype)
    mask = torch.full((T, T), float("-inf"), dtype=x.dtype).triu(1)
    for l in range(c["num_hidden_layers"]):
        p = f"model.layers.{l}."
        h = rms_norm(x, w[p + "input_layernorm.weight"], eps)
        q = F.linear(h, w[p + "self_attn.q_proj.weight"]).view(B, T, H, hd).transpose(1, 2)
        k = F.linear(h, w[p + "self_attn.k_proj.weight"]).view(B, T, G, hd).transpose(1, 2)
        v = F.linear(h, w[p + "self_attn.v_proj.weight"]).view(B, T, G, hd).transpose(1, 2)
        q = (q * cos + rotate_half(q) * sin) / math.sqrt(hd)
        k = k * cos + rotate_half(k) * sin
        q = q.reshape(B, G, H // G, T, hd)                 # query head i reads kv head i // (H/G)
        a = (q @ k.unsqueeze(2).transpose(-1, -2) + mask).softmax(-1)
        o = (a @ v.unsqueeze(2)).reshape(B, H, T, hd).transpose(1, 2).reshape(B, T, H * hd)
        x = x + F.linear(o, w[p + "self_attn.o_proj.weight"])
        h = rms_norm(x, w[p + "post_attention_layernorm.weight"], eps)
        g = F.silu(F.linear(h, w[p + "mlp.gate_proj.weight"])) * F.linear(h, w[p + "mlp.up_proj.weight"])
        x = x + F.linear(g, w[p + "mlp.down_proj.weight"])
        if seen is not None:
            seen += [x, g]
    return F.linear(rms_norm(x, w["model.norm.weight"], eps), emb)


@torch.no_grad()
def generate(w, c, ids, n, end, temperature=0.0, gen=None):
    """Continue ids by up to n tokens, stopping at `end`."""
    ids = list(ids)
    start = len(ids)
    for _ in range(n):
        z = forward(w, c, torch.tensor([ids]))[0, -1]
        if temperature == 0:
            t = int(z.argmax())
        else:
            t = int(torch.multinomial((z / temperature).softmax(-1), 1, generator=gen))
        ids.append(t)
        if t == end:
            break
    return ids[start:]
