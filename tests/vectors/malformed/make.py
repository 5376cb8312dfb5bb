#!/usr/bin/env python3
"""Writes the malformed files of this folder and expected.tsv: file and a part of the message that refuses it.

Run it after adding a case: tests/vectors/malformed/make.py. The test is tests/unit/test_checkpoint_malformed.c."""
import json
import os
import shutil
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
expected = []


def write(path, data, part):
    full = os.path.join(HERE, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as f:
        f.write(data)
    expected.append((path, part))


# ---------------------------------------------------------------- config.json

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": 64,
         "intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8, "num_key_value_heads": 4,
         "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "hidden_act": "silu",
         "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "float32"}
GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 54, "n_positions": 128, "n_embd": 64,
        "n_layer": 4, "n_head": 4, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-05}
BERT = {"architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": 100, "hidden_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128, "hidden_act": "gelu",
        "max_position_embeddings": 64, "type_vocab_size": 2, "id2label": {"0": "no", "1": "yes"}}
MISTRAL = dict(LLAMA, architectures=["MistralForCausalLM"], model_type="mistral", sliding_window=64)
QWEN2 = dict(LLAMA, architectures=["Qwen2ForCausalLM"], model_type="qwen2", use_sliding_window=True, sliding_window=64)
GONE = object()


def config(name, base, part, **changes):
    c = {k: v for k, v in dict(base, **changes).items() if v is not GONE}
    write(f"config/{name}.json", json.dumps(c, indent=1).encode(), part)


def raw_config(name, text, part):
    write(f"config/{name}.json", text, part)


def configs():
    config("architecture-unknown", LLAMA, "'FalconForCausalLM' is not implemented; known: LlamaForCausalLM",
           architectures=["FalconForCausalLM"])
    config("architecture-missing", LLAMA, "field 'architectures': expected a list with one name, found nothing", architectures=GONE)
    config("architecture-null", LLAMA, "field 'architectures': expected a list with one name, found null", architectures=None)
    config("architecture-empty", LLAMA, "field 'architectures': expected a list with one name", architectures=[])
    config("architecture-text", LLAMA, "expected a list with one name, found a string", architectures="LlamaForCausalLM")
    config("architecture-case", LLAMA, "'llamaforcausallm' is not implemented", architectures=["llamaforcausallm"])
    config("activation-unknown", LLAMA, "field 'hidden_act': activation 'relu2' is not implemented; known: silu", hidden_act="relu2")
    config("activation-number", LLAMA, "field 'hidden_act': expected a string, found 1", hidden_act=1)
    config("gpt2-activation", GPT2, "field 'activation_function': activation 'quick_gelu' is not implemented",
           activation_function="quick_gelu")
    config("bert-activation", BERT, "field 'hidden_act': activation 'tanh' is not implemented", hidden_act="tanh")
    for kind in ("mrope", "YARN"):
        config(f"rope-{kind}".replace("YARN", "case"), LLAMA,
               f"rope type '{kind}' is not implemented; known: default, linear, dynamic, llama3, yarn, longrope",
               rope_scaling={"rope_type": kind, "factor": 4.0})
    config("rope-old-key", LLAMA, "rope type 'ntk' is not implemented", rope_scaling={"type": "ntk", "factor": 2.0})
    config("rope-v5-ntk", LLAMA, "rope type 'ntk' is not implemented", rope_theta=GONE,
           rope_parameters={"rope_type": "ntk", "rope_theta": 10000.0, "factor": 4.0})
    config("rope-yarn-original", LLAMA, "field 'original_max_position_embeddings': expected 2 to 16777216, found 1",
           rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1})
    config("rope-yarn-beta", LLAMA, "field 'beta_fast': expected a positive number, found -1",
           rope_scaling={"rope_type": "yarn", "factor": 4.0, "beta_fast": -1})
    config("rope-longrope", LLAMA, "field 'short_factor': expected a list of up to 256 numbers, found nothing",
           rope_scaling={"rope_type": "longrope", "factor": 4.0})
    config("rope-su", LLAMA, "field 'short_factor': expected 4 numbers, found 3",
           rope_scaling={"type": "su", "short_factor": [1, 1, 2], "long_factor": [1, 2, 3]})
    config("rope-longrope-zero", LLAMA, "field 'short_factor': expected positive numbers",
           rope_scaling={"rope_type": "longrope", "short_factor": [1, 0, 2, 3], "long_factor": [1, 2, 3, 4]})
    config("rope-v5-nested", LLAMA, "rope parameters per kind of layer ('full_attention') are not implemented", rope_theta=GONE,
           rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1e6}})
    config("rope-linear-without-factor", LLAMA, "field 'factor': expected a number, found nothing", rope_scaling={"rope_type": "linear"})
    config("rope-linear-zero", LLAMA, "the rope factor positive, found 10000 and 0", rope_scaling={"rope_type": "linear", "factor": 0})
    config("rope-llama3-incomplete", LLAMA, "field 'low_freq_factor': expected a number, found nothing",
           rope_scaling={"rope_type": "llama3", "factor": 8.0})
    config("rope-llama3-order", LLAMA, "llama3 needs 0 < low_freq_factor < high_freq_factor",
           rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192})
    config("rope-list", LLAMA, "field 'rope_scaling': expected an object, found a list", rope_scaling=["linear", 2])
    config("rope-theta-negative", LLAMA, "rope_theta must be larger than 1", rope_theta=-10000.0)
    config("rope-theta-text", LLAMA, "field 'rope_theta': expected a number, found a string", rope_theta="10000")
    config("rope-partial", LLAMA, "field 'partial_rotary_factor': 0.5 is not implemented", partial_rotary_factor=0.5)
    config("quantised", LLAMA, "field 'quantization_config': quantised checkpoints are not supported",
           quantization_config={"quant_method": "gptq", "bits": 4})
    config("heads-zero", LLAMA, "field 'num_attention_heads': expected a whole number from 1 to 4096, found 0", num_attention_heads=0)
    config("heads-negative", LLAMA, "field 'num_attention_heads': expected a whole number from 1 to 4096, found -8",
           num_attention_heads=-8)
    config("heads-fraction", LLAMA, "field 'num_attention_heads': expected a whole number from 1 to 4096, found 7.5",
           num_attention_heads=7.5)
    config("heads-missing", LLAMA, "field 'num_attention_heads': expected a whole number from 1 to 4096, found nothing",
           num_attention_heads=GONE)
    config("heads-text", LLAMA, "field 'num_attention_heads': expected a whole number from 1 to 4096, found a string",
           num_attention_heads="8")
    config("heads-do-not-divide", LLAMA, "hidden_size (64) is not a multiple of num_attention_heads (7)", num_attention_heads=7,
           num_key_value_heads=GONE)
    config("groups-zero", LLAMA, "field 'num_key_value_heads': expected a whole number from 1 to 4096, found 0", num_key_value_heads=0)
    config("groups-do-not-divide", LLAMA, "num_attention_heads (8) is not a multiple of num_key_value_heads (3)",
           num_key_value_heads=3)
    config("groups-more-than-heads", LLAMA, "num_attention_heads (8) is not a multiple of num_key_value_heads (16)",
           num_key_value_heads=16)
    config("head-width-odd", LLAMA, "rotary positions turn an even number of a head's dims, found 7 of 7", head_dim=7)
    config("head-width-zero", LLAMA, "field 'head_dim': expected a whole number from 1 to 65536, found 0", head_dim=0)
    config("head-width-huge", LLAMA, "8 heads of width 65536 are too large", head_dim=65536)
    config("layers-zero", LLAMA, "field 'num_hidden_layers': expected a whole number from 1 to 1024, found 0", num_hidden_layers=0)
    config("layers-huge", LLAMA, "field 'num_hidden_layers': expected a whole number from 1 to 1024, found 2147483648",
           num_hidden_layers=2147483648)
    config("width-negative", LLAMA, "field 'hidden_size': expected a whole number from 1 to 65536, found -64", hidden_size=-64)
    config("width-huge", LLAMA, "field 'hidden_size': expected a whole number from 1 to 65536, found 1e+300", hidden_size=1e300)
    config("neurons-huge", LLAMA, "field 'intermediate_size': expected a whole number from 1 to 1048576, found 1048577",
           intermediate_size=1048577)
    config("vocabulary-zero", LLAMA, "field 'vocab_size': expected a whole number from 1 to 4194304, found 0", vocab_size=0)
    config("vocabulary-huge", LLAMA, "field 'vocab_size': expected a whole number from 1 to 4194304, found 1.84467440737096e+19",
           vocab_size=2**64)
    config("positions-zero", LLAMA, "field 'max_position_embeddings': expected a whole number", max_position_embeddings=0)
    config("epsilon-negative", LLAMA, "the norm's epsilon is -1e-05", rms_norm_eps=-1e-05)
    config("epsilon-zero", LLAMA, "the norm's epsilon is 0", rms_norm_eps=0)
    config("epsilon-text", LLAMA, "field 'rms_norm_eps': expected a number, found a string", rms_norm_eps="1e-5")
    config("tied-number", LLAMA, "field 'tie_word_embeddings': expected true or false, found 1", tie_word_embeddings=1)
    config("end-outside-vocabulary", LLAMA, "field 'eos_token_id': 512 is outside the vocabulary of 512", eos_token_id=512)
    config("end-list-outside", LLAMA, "field 'eos_token_id': 9000 is outside the vocabulary of 512", eos_token_id=[2, 9000])
    config("end-negative", LLAMA, "field 'eos_token_id': expected token ids", eos_token_id=-1)
    config("end-text", LLAMA, "field 'eos_token_id': expected token ids, found a string", eos_token_id="</s>")
    config("end-too-many", LLAMA, "field 'eos_token_id': more than 16 ids", eos_token_id=list(range(17)))
    config("start-fraction", LLAMA, "field 'bos_token_id': expected a whole number", bos_token_id=1.5)
    config("window-negative", MISTRAL, "field 'sliding_window': expected a whole number from 0", sliding_window=-1)
    config("layer-types-unknown", MISTRAL, "field 'layer_types': 'chunked_attention' is not implemented",
           layer_types=["chunked_attention"] * 5)
    config("layer-types-few", MISTRAL, "field 'layer_types': expected 5 entries, found 2", layer_types=["full_attention"] * 2)
    config("layer-types-without-window", QWEN2, "has sliding layers but 'sliding_window' is not set", sliding_window=None,
           layer_types=["full_attention"] * 4 + ["sliding_attention"])
    config("gpt2-scaled-by-layer", GPT2, "field 'scale_attn_by_inverse_layer_idx': true is not implemented",
           scale_attn_by_inverse_layer_idx=True)
    config("gpt2-unscaled", GPT2, "field 'scale_attn_weights': false is not implemented", scale_attn_weights=False)
    config("gpt2-cross-attention", GPT2, "field 'add_cross_attention': true is not implemented", add_cross_attention=True)
    config("gpt2-heads", GPT2, "n_embd (64) is not a multiple of n_head (5)", n_head=5)
    config("gpt2-inner-zero", GPT2, "field 'n_inner': expected a whole number from 1 to 1048576, found 0", n_inner=0)
    config("bert-decoder", BERT, "field 'is_decoder': true is not implemented", is_decoder=True)
    config("bert-relative-positions", BERT, "field 'position_embedding_type': 'relative_key' is not implemented; known: absolute",
           position_embedding_type="relative_key")
    config("bert-heads", BERT, "hidden_size (64) is not a multiple of num_attention_heads (3)", num_attention_heads=3)
    config("bert-types-zero", BERT, "field 'type_vocab_size': expected a whole number from 1", type_vocab_size=0)
    config("labels-gap", BERT, "field 'id2label': expected names for \"0\" to \"1\", found a string for \"2\"",
           id2label={"0": "a", "2": "b"})
    config("labels-leading-zero", BERT, "found a string for \"01\"", id2label={"0": "a", "01": "b"})
    config("labels-number", BERT, "field 'id2label': expected names for \"0\" to \"1\", found a number for \"1\"",
           id2label={"0": "a", "1": 1})
    config("labels-few", BERT, "field 'id2label': class 2 of 3 has no name", num_labels=3)
    config("labels-list", BERT, "field 'id2label': expected an object, found a list", id2label=["a", "b"])
    config("labels-none", BERT, "field 'id2label': expected 1 to 65536 labels, found 0", id2label={})
    raw_config("not-an-object", b"[1, 2]", "expected an object, found a list")
    raw_config("empty", b"", "not valid JSON")
    raw_config("cut", json.dumps(LLAMA).encode()[:100], "not valid JSON near byte 100")
    raw_config("key-twice", json.dumps(LLAMA).encode()[:-1] + b', "num_attention_heads": 4}', "the key 'num_attention_heads' stands twice")
    raw_config("invalid-utf8", json.dumps(LLAMA).encode()[:-1] + b', "name": "\xff"}', "invalid UTF-8")
    raw_config("nul-byte", json.dumps(LLAMA).encode() + b"\0", "NUL byte")
    raw_config("overflow", json.dumps(LLAMA).encode()[:-1] + b', "x": 1e400}', "field 'x': number out of range")
    raw_config("comment", b"// a comment\n" + json.dumps(LLAMA).encode(), "not valid JSON")
    raw_config("deep", b"[" * 2000 + b"]" * 2000, "not valid JSON")


# ---------------------------------------------------------------- model.safetensors

def st(name, header, body, part, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    write(f"safetensors/{name}.safetensors", struct.pack("<Q", length) + text + body, part)


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors():
    a = {"a": tensor("F32", [2], 0, 8)}
    eight = bytes(range(8))
    for name, data in (("empty", b""), ("seven-bytes", b"\x02\0\0\0\0\0\0")):
        write(f"safetensors/{name}.safetensors", data, "bytes are too few for a safetensors file")
    write("safetensors/html.safetensors", b"<!DOCTYPE html><html><head></head></html>", "at most 100000000 are allowed: not a safetensors file?")
    write("safetensors/pickle.safetensors", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "not a safetensors file?")
    write("safetensors/lfs-pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
          "not a safetensors file?")
    st("header-longer-than-file", a, eight, "ends past the file", length=4096)
    st("header-too-large", a, eight, "header of 100000001 bytes, at most 100000000", length=100000001)
    st("header-length-wraps", a, eight, "at most 100000000", length=2**64 - 4)
    st("header-of-no-bytes", b"", b"{}", "does not start with '{'", length=0)
    st("header-list", b"[]", b"", "does not start with '{'")
    st("header-space-first", b" {}", b"", "does not start with '{'")
    st("header-cut", json.dumps(a).encode()[:-1], eight, "not valid JSON")
    st("header-two-documents", b"{}{}", b"", "not valid JSON")
    st("header-invalid-utf8", b'{"\xff":1}', b"", "invalid UTF-8")
    st("header-padded-with-nul", b"{}\0\0\0\0\0\0", b"", "NUL byte")
    st("tensor-twice", b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
       eight, "the key 'a' stands twice")
    st("shape-twice", b'{"a":{"dtype":"F32","shape":[2],"shape":[4],"data_offsets":[0,8]}}', eight, "the key 'shape' stands twice")
    st("data-cut", a, eight[:7], "tensor 'a' ends past the file (offset 8, the data has 7 bytes)")
    st("data-after-last", a, eight + b"x", "1 bytes after the last tensor belong to no tensor")
    st("data-of-nobody", {}, b"x", "1 bytes of data belong to no tensor")
    st("overlap", {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 4, 12)}, bytes(12), "tensor 'b' overlaps the one before it")
    st("same-bytes", {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 0, 8)}, eight, "overlaps the one before it")
    st("hole", {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [1], 12, 16)}, bytes(16), "there is a hole before tensor 'b'")
    st("hole-at-the-start", {"a": tensor("F32", [1], 4, 8)}, eight, "there is a hole before tensor 'a'")
    st("empty-inside-another", {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [0], 4, 4)}, eight, "tensor 'b' overlaps")
    st("shape-larger-than-bytes", {"a": tensor("F32", [3], 0, 8)}, eight,
       "tensor 'a': its shape and dtype do not need the 8 bytes it is given")
    st("dtype-smaller-than-bytes", {"a": tensor("F16", [2], 0, 8)}, eight, "do not need the 8 bytes")
    st("shape-overflow", {"a": tensor("F32", [4194305, 4194305, 211106198978564], 0, 4)}, bytes(4),
       "tensor 'a': the product of its shape overflows")
    st("shape-overflow-in-bytes", {"a": tensor("F64", [2**31, 2**30 + 1], 0, 8)}, eight, "do not need the 8 bytes")
    st("shape-times-dtype-overflow", {"a": tensor("F64", [2**52, 2**9 + 1], 0, 8)}, eight, "do not need the 8 bytes")
    st("shape-negative", {"a": tensor("F32", [-2], 0, 8)}, eight, "field 'shape': expected whole numbers")
    st("shape-two-negatives", {"a": tensor("F32", [-1, -2], 0, 8)}, eight, "field 'shape': expected whole numbers")
    st("shape-fraction", {"a": tensor("F32", [2.5], 0, 8)}, eight, "field 'shape': expected whole numbers")
    st("shape-beyond-2-to-53", {"a": tensor("U8", [2**53 + 1, 0], 0, 0)}, b"", "field 'shape': expected whole numbers")
    st("shape-text", {"a": tensor("F32", ["2"], 0, 8)}, eight, "field 'shape': expected whole numbers, found a string")
    st("shape-number", {"a": tensor("F32", 2, 0, 8)}, eight, "field 'shape': expected a list, found a number")
    st("shape-missing", {"a": {"dtype": "F32", "data_offsets": [0, 8]}}, eight, "field 'shape': expected a list, found nothing")
    st("shape-five-axes", {"a": tensor("F32", [1, 1, 1, 1, 2], 0, 8)}, eight, "tensor 'a': more than 4 dimensions")
    st("dtype-unknown", {"a": tensor("F8_E4M3", [8], 0, 8)}, eight, "field 'dtype': expected F32, BF16, F16")
    st("dtype-lower-case", {"a": tensor("f32", [2], 0, 8)}, eight, "or BOOL, found 'f32'")
    st("dtype-number", {"a": tensor(32, [2], 0, 8)}, eight, "or BOOL, found 'a number'")
    st("dtype-missing", {"a": {"shape": [2], "data_offsets": [0, 8]}}, eight, "or BOOL, found 'nothing'")
    st("offsets-missing", {"a": {"dtype": "F32", "shape": [2]}}, eight, "field 'data_offsets': expected [begin, end]")
    st("offsets-negative", {"a": tensor("F32", [2], -8, 0)}, eight, "field 'data_offsets'")
    st("offsets-backwards", {"a": tensor("F32", [2], 8, 0)}, eight, "field 'data_offsets'")
    st("offsets-three", {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8]}}, eight, "field 'data_offsets'")
    st("offsets-one", {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8]}}, eight, "field 'data_offsets'")
    st("offsets-text", {"a": {"dtype": "F32", "shape": [2], "data_offsets": ["0", "8"]}}, eight, "field 'data_offsets'")
    st("offsets-object", {"a": {"dtype": "F32", "shape": [2], "data_offsets": {"begin": 0, "end": 8}}}, eight, "field 'data_offsets'")
    st("offsets-beyond-2-to-53", {"a": tensor("F32", [2], 2**60, 2**60 + 8)}, eight, "field 'data_offsets'")
    st("offsets-past-the-file", {"a": tensor("U8", [2**40], 0, 2**40)}, eight, "tensor 'a' ends past the file")
    st("tensor-is-a-number", {"a": 1}, b"", "tensor 'a': expected an object, found a number")
    st("tensor-without-name", {"": tensor("F32", [2], 0, 8)}, eight, "tensor with an empty or overlong name")
    st("tensor-name-overlong", {"n" * 401: tensor("F32", [2], 0, 8)}, eight, "tensor with an empty or overlong name")
    st("tensor-name-with-escape", {"a\x1b[2J": tensor("F32", [3], 0, 8)}, eight, "tensor 'a [2J'")
    st("metadata-list", {"__metadata__": []}, b"", "'__metadata__': expected an object, found a list")
    st("nested-deep", b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}", b"", "not valid JSON")


for old in ("config", "safetensors"):
    shutil.rmtree(os.path.join(HERE, old), ignore_errors=True)
configs()
safetensors()
with open(os.path.join(HERE, "expected.tsv"), "w") as f:
    for path, part in expected:
        assert "\t" not in part
        f.write(f"{path}\t{part}\n")
print(len(expected), "files")
