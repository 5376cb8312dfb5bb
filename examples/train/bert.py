"""A plain torch BERT sequence classifier (post-LN, erf GELU, tanh pooler), Hugging Face names."""
import math

import torch
import torch.nn.functional as F


def init(c, seed):
    torch.manual_seed(seed)
    D, I = c["hidden_size"], c["intermediate_size"]
    w = {}

    def norm(name):
        w[name + ".weight"], w[name + ".bias"] = torch.ones(D), torch.zeros(D)

    def linear(name, n_out, n_in):
        w[name + ".weight"], w[name + ".bias"] = torch.randn(n_out, n_in) / math.sqrt(n_in), torch.zeros(n_out)

    e = "bert.embeddings."
    for name, n in (("word", c["vocab_size"]), ("position", c["max_position_embeddings"]), ("token_type", c["type_vocab_size"])):
        w[f"{e}{name}_embeddings.weight"] = torch.randn(n, D) * 0.05
    norm(e + "LayerNorm")
    for l in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{l}."
        for name in ("query", "key", "value"):
            linear(f"{p}attention.self.{name}", D, D)
        linear(p + "attention.output.dense", D, D)
        norm(p + "attention.output.LayerNorm")
        linear(p + "intermediate.dense", I, D)
        linear(p + "output.dense", D, I)
        norm(p + "output.LayerNorm")
    linear("bert.pooler.dense", D, D)
    linear("classifier", 2, D)
    return w


def forward(w, c, ids, drop=0.0):
    """ids: [batch, time], 0 = padding -> logits [batch, 2]."""
    B, T = ids.shape
    H, D, eps = c["num_attention_heads"], c["hidden_size"], c["layer_norm_eps"]
    lin = lambda x, n: F.linear(x, w[n + ".weight"], w[n + ".bias"])
    norm = lambda x, n: F.layer_norm(x, (D,), w[n + ".weight"], w[n + ".bias"], eps)
    dropout = lambda x: F.dropout(x, drop, drop > 0)
    e = "bert.embeddings."
    x = w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:T] + w[e + "token_type_embeddings.weight"][0]
    x = dropout(norm(x, e + "LayerNorm"))
    mask = torch.zeros(B, 1, 1, T, dtype=x.dtype).masked_fill((ids == 0)[:, None, None, :], float("-inf"))
    heads = lambda y: y.view(B, T, H, D // H).transpose(1, 2)
    for l in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{l}."
        q, k, v = (heads(lin(x, f"{p}attention.self.{n}")) for n in ("query", "key", "value"))
        a = (q @ k.transpose(-1, -2) / math.sqrt(D // H) + mask).softmax(-1)
        o = (dropout(a) @ v).transpose(1, 2).reshape(B, T, D)
        x = norm(x + dropout(lin(o, p + "attention.output.dense")), p + "attention.output.LayerNorm")
        h = lin(F.gelu(lin(x, p + "intermediate.dense")), p + "output.dense")
        x = norm(x + dropout(h), p + "output.LayerNorm")
    pooled = torch.tanh(lin(x[:, 0], "bert.pooler.dense"))
    return lin(dropout(pooled), "classifier")
