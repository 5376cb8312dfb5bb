"""scripts/image_vectors.py - makes tests/vectors/image: small images, what PIL reads from them and makes of them in other sizes, the
numbers that transformers' image processors make of them, and two tiny models with the answers of torch.

    python3 scripts/image_vectors.py tests/vectors/image

Needs python3-pil, python3-numpy, python3-torch. Shares no code with what it judges. Expected values are in expected.safetensors:
  FILE                      U8  [high, wide, 3]   decoded, turned as its EXIF says, as RGB
  FILE@FILTER WxH           U8  [H, W, 3]         the same in another size; "grey " in front: [H, W] of convert("L")
  values NAME               F32 [C, H, W]         of case NAME in preprocess.json
  vit FILE, deit FILE       F64 [classes]         logits of the models in vit/ and deit/
"""
import json
import os
import struct
import sys
import zlib

import numpy as np
import torch
from PIL import Image, ImageOps

out = sys.argv[1]
os.makedirs(out, exist_ok=True)
random = np.random.RandomState(20261121)


# ------------------------------------------------------------------ safetensors

def write_tensors(path, tensors):
    names = {"float32": "F32", "float64": "F64", "uint8": "U8"}
    order = sorted(tensors, key=lambda n: (-tensors[n].itemsize, n))
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in order:
        t = tensors[name]
        header[name] = {"dtype": names[str(t.dtype)], "shape": list(t.shape), "data_offsets": [at, at + t.nbytes]}
        at += t.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            f.write(np.ascontiguousarray(tensors[name]).tobytes())


# ------------------------------------------------------------------ images

def picture(w, h):
    """A gradient with edges and noise."""
    y, x = np.mgrid[0:h, 0:w]
    a = np.stack([255 * x / w, 255 * y / h, 127 + 120 * np.sin(x / 3.0 + y / 5.0)], axis=2)
    a[h // 3:h // 2, w // 4:w // 2] = (250, 10, 40)
    return np.clip(a + random.normal(0, 12, a.shape), 0, 255).astype(np.uint8)


def adam7(path, a):
    """PIL writes no interlaced PNG."""
    h, w, _ = a.shape
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        part = a[y0::dy, x0::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 1)) +
                chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


def save(name, image, **how):
    image.save(os.path.join(out, name), **how)


rgb = Image.fromarray(picture(37, 29))
save("rgb.png", rgb)
save("grey.png", Image.fromarray(picture(31, 40)).convert("L"))
save("bits.png", Image.fromarray(picture(19, 13)).convert("1"))
save("palette.png", Image.fromarray(picture(23, 17)).convert("P", palette=Image.Palette.ADAPTIVE, colors=14), transparency=3)
alpha = picture(22, 18)
save("rgba.png", Image.fromarray(np.dstack([alpha, picture(22, 18)[:, :, 2]]), "RGBA"))
save("la.png", Image.fromarray(np.dstack([alpha[:, :, 0], alpha[:, :, 1]]), "LA"))
adam7(os.path.join(out, "interlaced.png"), picture(21, 26))
save("deep.png", Image.fromarray(picture(8, 8)[:, :, 0].astype(np.int32) * 257, "I").convert("I;16"))
photo = Image.fromarray(picture(53, 41))
save("photo.jpg", photo, quality=90)
save("progressive.jpg", photo, quality=80, progressive=True)
save("grey.jpg", photo.convert("L"), quality=85)
save("cmyk.jpg", photo.convert("CMYK"), quality=85)
small = Image.fromarray(picture(10, 6))
for n in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = n
    save("turned-%d.jpg" % n, small, quality=95, subsampling=0, exif=exif)
exif = Image.Exif()
exif[0x0112] = 6
save("turned.png", small, exif=exif)
save("other.gif", small)
save("other.webp", small) if "WEBP" in Image.SAVE else None
refused = {"deep.png", "cmyk.jpg", "other.gif", "other.webp"}

expected = {}


def read(name):
    return ImageOps.exif_transpose(Image.open(os.path.join(out, name))).convert("RGB")


for name in sorted(os.listdir(out)):
    if name.endswith((".png", ".jpg")) and name not in refused:
        expected[name] = np.asarray(read(name))

filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
for name, image in (("rgb.png", rgb), ("photo.jpg", read("photo.jpg"))):
    for kind, number in filters.items():
        for w, h in ((16, 16), (64, 51), (12, 60), (60, 7), (1, 1), (37, 11), (20, 29), (3, 90)):
            expected["%s@%s %dx%d" % (name, kind, w, h)] = np.asarray(image.resize((w, h), number))
    expected["grey %s@bicubic 20x20" % name] = np.asarray(image.convert("L").resize((20, 20), Image.Resampling.BICUBIC))

# ------------------------------------------------------------------ what transformers' processors do

imagenet = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
cases = [
    {"name": "vit now", "file": "photo.jpg", "image": [24, 20], "channels": 3, "config": {
        "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 24, "width": 20}, "resample": 2,
        "do_rescale": True, "rescale_factor": 0.00392156862745098, "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}},
    {"name": "vit before", "file": "rgb.png", "image": [24, 24], "channels": 3, "config": {
        "feature_extractor_type": "ViTFeatureExtractor", "do_normalize": True, "do_resize": True, "size": 24, "resample": 2,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}},
    {"name": "deit", "file": "photo.jpg", "image": [24, 24], "channels": 3, "config": dict(imagenet, **{
        "feature_extractor_type": "DeiTFeatureExtractor", "crop_size": 24, "do_center_crop": True, "do_normalize": True,
        "do_resize": True, "resample": 3, "size": 29})},
    {"name": "shorter side", "file": "photo.jpg", "image": [20, 20], "channels": 3, "config": dict(imagenet, **{
        "image_processor_type": "ViTImageProcessorFast", "size": {"shortest_edge": 25}, "do_center_crop": True,
        "crop_size": {"height": 20, "width": 20}, "resample": 1})},
    {"name": "grey", "file": "rgb.png", "image": [16, 16], "channels": 1, "config": {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}, "image_mean": [0.1307], "image_std": [0.3081]}},
    {"name": "as it is", "file": "grey.png", "image": [40, 31], "channels": 3, "config": {
        "image_processor_type": "ViTImageProcessor", "do_resize": False, "do_normalize": False, "size": {"height": 9, "width": 9}}},
    {"name": "bytes", "file": "rgb.png", "image": [16, 16], "channels": 3, "config": dict(imagenet, **{
        "image_processor_type": "ViTImageProcessor", "do_rescale": False, "size": [16, 16]})},
]


def values(case):
    c = case["config"]
    image = read(case["file"]).convert("L" if case["channels"] == 1 else "RGB")
    if c.get("do_resize", True):
        size = c["size"]
        if isinstance(size, int):
            w = h = size
        elif isinstance(size, list):
            h, w = size
        elif "shortest_edge" in size:
            n, short, long = size["shortest_edge"], min(image.size), max(image.size)
            w, h = (n, int(n * long / short)) if image.size[0] <= image.size[1] else (int(n * long / short), n)
        else:
            h, w = size["height"], size["width"]
        image = image.resize((w, h), c.get("resample", 2))
    a = np.asarray(image).reshape(image.size[1], image.size[0], -1)
    if c.get("do_center_crop", False):
        n = c["crop_size"] if isinstance(c["crop_size"], int) else c["crop_size"]["height"]
        top, left = (a.shape[0] - n) // 2, (a.shape[1] - n) // 2
        a = a[top:top + n, left:left + n]
    if c.get("do_rescale", True):
        a = (a.astype(np.float64) * c.get("rescale_factor", 1 / 255)).astype(np.float32)
    if c.get("do_normalize", True):
        a = a.astype(np.float32)
        a = (a - np.array(c["image_mean"], a.dtype)) / np.array(c["image_std"], a.dtype)
    return np.ascontiguousarray(a.astype(np.float32).transpose(2, 0, 1))


for case in cases:
    expected["values " + case["name"]] = values(case)
with open(os.path.join(out, "preprocess.json"), "w") as f:
    json.dump(cases, f, indent=1)
    f.write("\n")

# ------------------------------------------------------------------ two models

D, L, H, F, C, P = 12, 2, 3, 20, 4, 6


def make_model(kind, image):
    tokens = 2 if kind == "deit" else 1
    n = (image[0] // P) * (image[1] // P) + tokens
    w = {}

    def put(name, *shape, centre=0.0, spread=None):
        spread = spread if spread is not None else (3.0 / shape[-1]) ** 0.5
        w[name] = (centre + spread * random.uniform(-1, 1, shape)).astype(np.float32)

    e = kind + ".embeddings."
    put(e + "cls_token", 1, 1, D, spread=1)
    if kind == "deit":
        put(e + "distillation_token", 1, 1, D, spread=1)
    put(e + "position_embeddings", 1, n, D, spread=1)
    put(e + "patch_embeddings.projection.weight", D, 3, P, P, spread=(3.0 / (3 * P * P)) ** 0.5)
    put(e + "patch_embeddings.projection.bias", D, spread=0.3)
    for l in range(L):
        at = "%s.encoder.layer.%d." % (kind, l)
        for norm in ("layernorm_before", "layernorm_after"):
            put(at + norm + ".weight", D, centre=1, spread=0.5)
            put(at + norm + ".bias", D, spread=0.3)
        for name, o, i in (("attention.attention.query", D, D), ("attention.attention.key", D, D), ("attention.attention.value", D, D),
                           ("attention.output.dense", D, D), ("intermediate.dense", F, D), ("output.dense", D, F)):
            put(at + name + ".weight", o, i)
            put(at + name + ".bias", o, spread=0.3)
    put(kind + ".layernorm.weight", D, centre=1, spread=0.5)
    put(kind + ".layernorm.bias", D, spread=0.3)
    put("classifier.weight", C, D)
    put("classifier.bias", C, spread=0.3)
    config = {"architectures": [{"vit": "ViT", "deit": "DeiT"}[kind] + "ForImageClassification"], "model_type": kind,
              "hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H, "intermediate_size": F, "hidden_act": "gelu",
              "layer_norm_eps": 1e-12, "image_size": image[0] if image[0] == image[1] else image, "patch_size": P, "num_channels": 3,
              "qkv_bias": True, "id2label": {str(i): "class %d" % i for i in range(C)}}
    return w, config


def run(kind, w, pixels):
    def t(name):
        return torch.tensor(w[name]).double()

    def linear(x, name):
        return x @ t(name + ".weight").T + t(name + ".bias")

    def norm(x, name):
        return torch.nn.functional.layer_norm(x, (D,), t(name + ".weight"), t(name + ".bias"), 1e-12)

    e = kind + ".embeddings."
    x = torch.nn.functional.conv2d(torch.tensor(pixels).double()[None], t(e + "patch_embeddings.projection.weight"),
                                   t(e + "patch_embeddings.projection.bias"), stride=P).flatten(2).transpose(1, 2)
    first = [t(e + "cls_token")] + ([t(e + "distillation_token")] if kind == "deit" else [])
    x = (torch.cat(first + [x], 1) + t(e + "position_embeddings"))[0]
    for l in range(L):
        at = "%s.encoder.layer.%d." % (kind, l)
        h = norm(x, at + "layernorm_before")
        q, k, v = (linear(h, at + "attention.attention." + n).view(-1, H, D // H).transpose(0, 1) for n in ("query", "key", "value"))
        mix = torch.softmax(q @ k.transpose(1, 2) / (D // H) ** 0.5, -1) @ v
        x = x + linear(mix.transpose(0, 1).reshape(-1, D), at + "attention.output.dense")
        h = torch.nn.functional.gelu(linear(norm(x, at + "layernorm_after"), at + "intermediate.dense"))
        x = x + linear(h, at + "output.dense")
    return linear(norm(x, kind + ".layernorm")[0], "classifier").numpy()


for kind, case in (("vit", cases[0]), ("deit", cases[2])):
    w, config = make_model(kind, case["image"])
    os.makedirs(os.path.join(out, kind), exist_ok=True)
    for name, what in (("config.json", config), ("preprocessor_config.json", case["config"])):
        with open(os.path.join(out, kind, name), "w") as f:
            json.dump(what, f, indent=1)
            f.write("\n")
    write_tensors(os.path.join(out, kind, "model.safetensors"), w)
    for name in ("photo.jpg", "rgb.png"):
        expected["%s %s" % (kind, name)] = run(kind, w, values(dict(case, file=name)))

write_tensors(os.path.join(out, "expected.safetensors"), expected)
