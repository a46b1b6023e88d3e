"""What benchmarks write down: files that are whole, and the processor that made them."""

import os
import platform


def write(path, text):
    """Write a text file; a run that is stopped here loses nothing of the earlier version."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def processor():
    """Name of the processor, as far as the system tells it."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":")[1].strip()
    return platform.processor() or platform.machine()
