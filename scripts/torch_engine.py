#!/usr/bin/python3
"""An engine in PyTorch that serves a Hugging Face checkpoint at /v1/completions, as a witness for profile "engine".

It shares nothing with the C code and knows nothing of keys: it reads config.json, the safetensors files and tokenizer.json as it
would those of any Llama or GPT-2 checkpoint, and computes with torch in float32. Greedy or sampled, one request at a time, answers
as a stream of events. For checks; a real deployment takes vLLM or another engine (docs/ENGINES.md). With --enable-prompt-embeds it
takes vLLM's field prompt_embeds in place of a prompt, a tensor as torch.save writes it, and else it refuses that field as vLLM does.

  scripts/torch_engine.py --model exported/package --port 8000

Needs Debian's python3-torch.
"""
import argparse
import base64
import glob
import io
import json
import math
import os
import struct
from http.server import BaseHTTPRequestHandler, HTTPServer

import torch
from torch.nn import functional as F

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        base = f.tell()
        for name, t in header.items():
            if name == "__metadata__":
                continue
            begin, end = t["data_offsets"]
            f.seek(base + begin)
            data = torch.frombuffer(bytearray(f.read(end - begin)), dtype=DTYPES[t["dtype"]])
            yield name, data.reshape(t["shape"]).float()


class Checkpoint:
    def __init__(self, folder):
        self.config = json.load(open(os.path.join(folder, "config.json")))
        self.w = {}
        for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
            self.w.update(read_safetensors(path))
        vocab = json.load(open(os.path.join(folder, "tokenizer.json")))["model"]["vocab"]
        self.text = {i: t for t, i in vocab.items()}
        eos = self.config.get("eos_token_id")
        self.eos = set(eos if isinstance(eos, list) else [] if eos is None else [eos])

    def __getitem__(self, name):
        return self.w[name] if name in self.w else self.w["transformer." + name]

    def rows(self, ids):
        return self["wte.weight" if self.config["model_type"] == "gpt2" else "model.embed_tokens.weight"][ids]


def attend(q, k, v, groups):
    """q [T,H,K], k and v [T,G,K] -> [T,H*K], causal."""
    T, H, K = q.shape
    k, v = (x.repeat_interleave(H // groups, dim=1) for x in (k, v))
    score = torch.einsum("thk,shk->hts", q, k) / math.sqrt(K)
    score = score.masked_fill(torch.triu(torch.ones(T, T, dtype=torch.bool), 1), -math.inf)
    return torch.einsum("hts,shk->thk", score.softmax(-1), v).reshape(T, H * K)


def llama(cp, x):
    """x [T,D], rows of the embedding table -> logits [V] of the last."""
    c = cp.config
    D, H = c["hidden_size"], c["num_attention_heads"]
    G, K, T = c.get("num_key_value_heads", H), c.get("head_dim") or D // H, len(x)
    eps = c["rms_norm_eps"]

    def norm(x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * cp[name]

    def linear(x, name):
        bias = name + ".bias"
        return F.linear(x, cp[name + ".weight"], cp.w.get(bias))

    angle = torch.arange(T).float()[:, None] * (c.get("rope_theta", 10000.0) ** (-torch.arange(0, K, 2).float() / K))[None]
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]

    def rotate(x):
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        h = norm(x, p + "input_layernorm.weight")
        q = rotate(linear(h, p + "self_attn.q_proj").view(T, H, K))
        k = rotate(linear(h, p + "self_attn.k_proj").view(T, G, K))
        v = linear(h, p + "self_attn.v_proj").view(T, G, K)
        x = x + linear(attend(q, k, v, G), p + "self_attn.o_proj")
        h = norm(x, p + "post_attention_layernorm.weight")
        x = x + linear(F.silu(linear(h, p + "mlp.gate_proj")) * linear(h, p + "mlp.up_proj"), p + "mlp.down_proj")
    table = "model.embed_tokens.weight" if c.get("tie_word_embeddings") else "lm_head.weight"
    return norm(x, "model.norm.weight")[-1] @ cp[table].T


def gpt2(cp, x):
    """x [T,D], rows of the embedding table, before positions -> logits [V] of the last."""
    c = cp.config
    D, H, T = c["n_embd"], c["n_head"], len(x)

    def norm(x, name):
        return F.layer_norm(x, (D,), cp[name + ".weight"], cp[name + ".bias"], c["layer_norm_epsilon"])

    def conv(x, name):
        return x @ cp[name + ".weight"] + cp[name + ".bias"]

    def gelu(x):
        if c["activation_function"] == "gelu":
            return F.gelu(x)
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    x = x + cp["wpe.weight"][:T]
    for i in range(c["n_layer"]):
        p = f"h.{i}."
        q, k, v = (t.view(T, H, D // H) for t in conv(norm(x, p + "ln_1"), p + "attn.c_attn").split(D, dim=-1))
        x = x + conv(attend(q, k, v, H), p + "attn.c_proj")
        x = x + conv(gelu(conv(norm(x, p + "ln_2"), p + "mlp.c_fc")), p + "mlp.c_proj")
    return norm(x, "ln_f")[-1] @ cp["wte.weight"].T


FORWARD = {"LlamaForCausalLM": llama, "MistralForCausalLM": llama, "Qwen2ForCausalLM": llama, "GPT2LMHeadModel": gpt2}


def load_rows(text):
    rows = torch.load(io.BytesIO(base64.b64decode(text, validate=True)), map_location="cpu")
    assert isinstance(rows, torch.Tensor) and rows.dtype in (torch.float32, torch.bfloat16, torch.float16) and rows.dim() == 2
    return rows.float()


def generate(cp, request, x):
    """x [T,D]: the prompt."""
    forward = FORWARD[cp.config["architectures"][0]]
    temperature = request.get("temperature", 1.0)
    draw = torch.Generator().manual_seed(request.get("seed", 0))
    for _ in range(request["max_tokens"]):
        with torch.no_grad():
            logits = forward(cp, x)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial((logits / temperature).softmax(-1), 1, generator=draw))
        if token in cp.eos and not request.get("ignore_eos"):
            yield "", "stop"
            return
        x = torch.cat((x, cp.rows([token])))
        yield cp.text[token], None
    yield "", "length"


def handler(cp, takes_rows):
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def start(self, status, kind):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Connection", "close")
            self.end_headers()

        def do_GET(self):
            self.start(200, "application/json")
            self.wfile.write(json.dumps({"object": "list", "data": [{"id": "exported", "object": "model"}]}).encode())

        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "prompt_embeds" in request and not takes_rows:
                self.start(400, "application/json")
                why = "You must set `--enable-prompt-embeds` to input `prompt_embeds`."
                self.wfile.write(json.dumps({"error": {"message": why, "type": "BadRequestError", "code": 400}}).encode())
                return
            x = load_rows(request["prompt_embeds"]) if "prompt_embeds" in request else cp.rows(request["prompt"])
            self.start(200, "text/event-stream")
            for text, end in generate(cp, request, x):
                event = {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": end}]}
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="a checkpoint folder")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes a free one and prints it")
    parser.add_argument("--enable-prompt-embeds", action="store_true", help="take rows in place of ids; only from trusted users: pickles")
    args = parser.parse_args()
    server = HTTPServer(("127.0.0.1", args.port), handler(Checkpoint(args.model), args.enable_prompt_embeds))
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
