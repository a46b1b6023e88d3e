"""Batches in which no text stands twice, as losses with in-batch negatives need them."""

from collections import Counter


def pack_distinct(order, keys, batch_size, num_batches):
    """Cut an order of rows into batches without a key twice in one.

    First fit in one pass: a row goes to the first batch with room that comes after every batch already
    holding one of its keys, so near-sorted input stays near-sorted. Rows that find no batch then try to
    change places with a row that has somewhere to go. A text in more rows than there are batches cannot
    be placed each time; those rows are left out.

    Args:
        order: sequence of row indices.
        keys: sequence over all rows of frozensets of hashables (the row's texts).
        batch_size, num_batches: ints. The batches' capacity and number.

    Returns:
        `(batches, left_out)`: a list of `num_batches` lists of rows, and a list of rows.
    """
    batches = [[] for _ in range(num_batches)]
    after = {}  # key -> the batch behind the last one that holds it
    following = list(range(num_batches + 1))  # batch -> a batch at or behind it that may have room
    waiting = []
    for row in order:
        target = _with_room(following, max((after.get(key, 0) for key in keys[row]), default=0))
        if target == num_batches:
            waiting.append(row)
            continue
        batches[target].append(row)
        for key in keys[row]:
            after[key] = target + 1
        if len(batches[target]) == batch_size:
            following[target] = target + 1
    return batches, _squeeze_in(waiting, keys, batches, batch_size)


def _with_room(following, index):
    """First batch with room at or behind `index`; chains are shortened as they are walked (union-find)."""
    root = index
    while following[root] != root:
        root = following[root]
    while following[index] != root:
        following[index], index = root, following[index]
    return root


def _squeeze_in(waiting, keys, batches, batch_size):
    """Place each waiting row where it fits, if need be by moving one other row; returns the rows left out."""
    if not waiting:
        return []
    held = [{key for row in batch for key in keys[row]} for batch in batches]
    spread = Counter(key for keys_held in held for key in keys_held)
    room = [index for index, batch in enumerate(batches) if len(batch) < batch_size]

    def place(row, index):
        batches[index].append(row)
        held[index] |= keys[row]
        spread.update(keys[row])
        if len(batches[index]) == batch_size and index in room:
            room.remove(index)

    def squeeze(row):
        if any(spread[key] == len(batches) for key in keys[row]):
            return False
        for index, batch in enumerate(batches):
            if keys[row] & held[index]:
                continue
            if index in room:
                place(row, index)
                return True
            for mover in batch:
                target = next((other for other in room if not keys[mover] & held[other]), None)
                if target is not None:
                    batch.remove(mover)
                    held[index] -= keys[mover]
                    spread.subtract(keys[mover])
                    place(mover, target)
                    place(row, index)
                    return True
        return False

    return [row for row in waiting if not squeeze(row)]
