def bpe_step(ids, new_id):
    """A list of ids -> (the most frequent pair of neighbours, the list with every such pair replaced by new_id).

    Of equally frequent pairs the smallest. Replaced from left to right, pairs that overlap once: 1 1 1 -> new 1.
    """
    # <<<
    pairs = [(ids[i], ids[i + 1]) for i in range(len(ids) - 1)]
    best = min(set(pairs), key=lambda pair: (-pairs.count(pair), pair))
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == best:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return best, merged
    # >>>
