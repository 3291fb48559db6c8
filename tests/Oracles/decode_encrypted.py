#!/usr/bin/env python3
"""Deciphers an encrypted disk image (version 2): an independent reader, in another language, for the tests.

Usage: decode_encrypted.py IMAGE OUTPUT PASSPHRASE
A file gives the file of the container inside. A bundle gives the disk: band after band, zeros where there is no band.
Python's standard library has PBKDF2 and HMAC, and `openssl enc` does Triple-DES and AES. AES-CBC over many blocks, each a chain of its own, is AES-ECB
over all of them at once, XORed with the ciphertext 16 bytes before, or at the start of a block with its IV.
"""
import hashlib
import hmac
import os
import plistlib
import struct
import subprocess
import sys


def openssl(cipher, key, data, iv=None):
    command = ["openssl", "enc", "-d", "-" + cipher, "-K", key.hex()] + (["-iv", iv.hex()] if iv else ["-nopad"])
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def read_header(data, passphrase):
    magic, version, iv_size, mode, cipher, key_bits, iv_algorithm, iv_key_bits, _uuid, block_size, size, offset, entries = struct.unpack(">8s7I16sIQQI", data[:76])
    if (magic, version, iv_size, mode, cipher, iv_algorithm, iv_key_bits) != (b"encrcdsa", 2, 16, 5, 0x80000001, 91, 160):
        raise SystemExit("not an encrypted image of version 2")
    for entry in range(entries):
        kind, at, _length = struct.unpack(">IQQ", data[76 + 20 * entry: 96 + 20 * entry])
        if kind != 1:
            continue
        kdf, prf, rounds, salt_size, salt, wrap_iv_size, wrap_iv, wrap_bits, wrap_cipher, padding, wrap_mode, wrapped_size = struct.unpack(">4I32sI32s5I", data[at: at + 104])
        if (kdf, prf, wrap_bits, wrap_cipher, padding, wrap_mode) != (103, 0, 192, 17, 7, 6):
            raise SystemExit("an unknown key wrap")
        derived = hashlib.pbkdf2_hmac("sha1", passphrase, salt[:salt_size], rounds, 24)
        blob = openssl("des-ede3-cbc", derived, data[at + 104: at + 104 + wrapped_size], wrap_iv[:wrap_iv_size])
        key_size = key_bits // 8
        if blob[key_size + 20:] != b"CKIE\0":
            raise SystemExit("not the passphrase")
        return blob[:key_size], blob[key_size: key_size + 20], block_size, size, offset
    raise SystemExit("no key entry with a passphrase")


def decipher(data, key, hmac_key, block_size):
    before = bytearray(b"\0" * 16 + data[:-16])
    for block in range(len(data) // block_size):
        before[block * block_size: block * block_size + 16] = hmac.digest(hmac_key, struct.pack(">I", block), "sha1")[:16]
    plain = openssl("aes-%d-ecb" % (len(key) * 8), key, data)
    return (int.from_bytes(plain, "big") ^ int.from_bytes(before, "big")).to_bytes(len(data), "big")


def read(path):
    with open(path, "rb") as f:
        return f.read()


def main():
    image, output, passphrase = sys.argv[1:]
    with open(output, "wb") as raw:
        if not os.path.isdir(image):
            data = read(image)
            key, hmac_key, block_size, size, offset = read_header(data, passphrase.encode())
            if (len(data) - offset) % block_size:
                raise SystemExit("the last block is cut short")
            raw.write(decipher(data[offset:], key, hmac_key, block_size)[:size])
            return
        key, hmac_key, block_size, _size, _offset = read_header(read(os.path.join(image, "token")), passphrase.encode())
        info = plistlib.loads(read(os.path.join(image, "Info.plist")))
        raw.truncate(info["size"])
        for name in os.listdir(os.path.join(image, "bands")):
            raw.seek(int(name, 16) * info["band-size"])
            raw.write(decipher(read(os.path.join(image, "bands", name)), key, hmac_key, block_size))


main()
