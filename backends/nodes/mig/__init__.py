"""MIG: the profiles of each board, where they may stand, and the way from what is there to what is wished for.

`planner.plan(target, wish.parse(text))` answers for a `target.target_of(node, gpu)` or `target.target_of_model(name)`.
"""
