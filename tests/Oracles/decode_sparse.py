#!/usr/bin/env python3
"""Decodes a plain sparse image or sparse bundle to a raw disk: an independent reader, in another language, for the tests.

Usage: decode_sparse.py IMAGE RAW
Knowledge: the band table of a sparse image goes by slot (entry n = 1 + number of the band stored in slot n); the header has 1,008 slots,
every further node of 4,096 bytes has 1,010, and each names the next; a bundle keeps each band in bands/<hexadecimal number>.
"""
import os
import plistlib
import struct
import sys

NODE_SIZE = 4096
SECTOR = 512


def decode_bundle(path, raw):
    with open(os.path.join(path, "Info.plist"), "rb") as f:
        info = plistlib.load(f)
    size, band_size = info["size"], info["band-size"]
    raw.truncate(size)
    for name in os.listdir(os.path.join(path, "bands")):
        start = int(name, 16) * band_size
        with open(os.path.join(path, "bands", name), "rb") as band:
            data = band.read()
        if len(data) > band_size or start >= size:
            raise SystemExit(f"band {name} is too long or lies beyond the disk")
        raw.seek(start)
        raw.write(data[: size - start])


def decode_image(path, raw):
    with open(path, "rb") as image:
        header = image.read(NODE_SIZE)
        signature, _version, sectors_per_band, _flags, sectors, next_node = struct.unpack(">4sIIIIQ", header[:28])
        if signature != b"sprs":
            raise SystemExit("not a sparse image")
        wide_sectors = struct.unpack(">Q", header[28:36])[0]
        size = (wide_sectors or sectors) * SECTOR
        band_size = sectors_per_band * SECTOR
        raw.truncate(size)
        data_start, table = NODE_SIZE, header[64:NODE_SIZE]
        while True:
            for slot in range(len(table) // 4):
                number = struct.unpack(">I", table[slot * 4: slot * 4 + 4])[0]
                if number == 0:
                    continue
                start = (number - 1) * band_size
                if start >= size:
                    raise SystemExit(f"band {number - 1} lies beyond the disk")
                image.seek(data_start + slot * band_size)
                raw.seek(start)
                raw.write(image.read(min(band_size, size - start)))
            if next_node == 0:
                return
            image.seek(next_node)
            node = image.read(NODE_SIZE)
            if node[:4] != b"sprs":
                raise SystemExit("an index node has no signature")
            data_start, table = next_node + NODE_SIZE, node[56:NODE_SIZE]
            next_node = struct.unpack(">Q", node[12:20])[0]


def main():
    source, target = sys.argv[1:]
    with open(target, "wb") as raw:
        (decode_bundle if os.path.isdir(source) else decode_image)(source, raw)


main()
