"""What benchmarks write down: files that are whole, and the processor that made them."""

import datetime
import json
import os
import platform


def write(path, text):
    """Write a text file; a run that is stopped here loses nothing of the earlier version."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def merge(path, rows, keys):
    """Store rows, dicts, in a JSON file in place of those with the same values of `keys`; returns all rows there are."""
    known = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            known = json.load(file)["rows"]
    made = {tuple(row[key] for key in keys) for row in rows}
    known = [row for row in known if tuple(row[key] for key in keys) not in made] + rows
    write(path, json.dumps({"rows": known}, indent=1) + "\n")
    return known


def made_on():
    """What goes beside numbers: processor, cores and date."""
    return {"processor": processor(), "cores": os.cpu_count(), "date": str(datetime.date.today())}


def processor():
    """Name of the processor, as far as the system tells it."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":")[1].strip()
    return platform.processor() or platform.machine()
