"""What a file that is no model looks like, told from its first bytes, so that an error can say what to do."""

from __future__ import annotations

_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"GGUF", "a GGUF model"),
    (b"PK\x03\x04", "a zip archive (often a PyTorch .pt or .bin, which can run code when loaded)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"lmgg", "a GGML file of 2023, before GGUF"),
    (b"fmgg", "a GGML file of 2023, before GGUF"),
    (b"tjgg", "a GGML file of 2023, before GGUF"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF"),
)


def describe_start(start: bytes) -> str:
    """What a file with these first bytes (16 or more, if it has them) looks like, to follow "it looks like"."""
    if not start:
        return "an empty file"
    for magic, words in _KINDS:
        if start.startswith(magic):
            return words
    if len(start) > 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return "a safetensors file"
    if start[0] == 0x80 and len(start) > 1 and start[1] <= 5:
        return "a Python pickle (which can run code when loaded; it is never opened here)"
    text = start.lstrip()
    if text[:5].lower() in (b"<!doc", b"<html", b"<?xml"):
        return "a web page (perhaps an error page saved in the model's place)"
    if text[:1] in (b"{", b"["):
        return "a JSON file"
    if not any(start):
        return "zeros (a download that was never filled)"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start):
        return "a text file"
    return "no format that is known here"
