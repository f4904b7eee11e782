"""A safetensors file that is written, checked and digested piece by piece, without a copy of its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

PIECE = 2**20  # bytes
KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def file_pieces(text: str, tensors: dict[str, Tensor]) -> list[bytes | memoryview]:
    """Return the bytes of a file with `text` and its digest in the header: views of the tensors, on the CPU.

    The digest is that of the text followed by the file without text and digest.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # every tensor is aligned
    header: dict[str, Any] = {}
    end = 0
    for name in names:
        t, start = tensors[name], end
        end += t.numel() * t.element_size()
        header[name] = {"dtype": KINDS[t.dtype], "shape": list(t.shape), "data_offsets": [start, end]}
    filled = [tensors[name] for name in names if tensors[name].numel()]
    data = [memoryview(t.as_strided((t.numel(),), (1,)).view(torch.uint8).numpy()) for t in filled]  # pyright: ignore[reportArgumentType]
    digest = hashlib.sha256(text.encode() + _head(header))
    for piece in data:
        digest.update(piece)
    return [_head({"__metadata__": {"content": text, "digest": digest.hexdigest()}, **header}), *data]


def file_digest(path: Path) -> tuple[str, str]:
    """Return (the digest of a file, the digest in its header), in constant memory.

    Raises:
        ValueError, KeyError, TypeError, OSError: It is not such a file.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= path.stat().st_size - 8:
            raise ValueError("the header is cut off")
        header = json.loads(file.read(length))
        stated = header.pop("__metadata__")
        digest = hashlib.sha256(stated["content"].encode() + _head(header))
        for piece in _pieces_of(file):
            digest.update(piece)
    return digest.hexdigest(), stated["digest"]


def _pieces_of(file: Any) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _head(header: dict[str, Any]) -> bytes:
    """Return the first bytes of a file: the length of the header, and the header, padded to whole words."""
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
