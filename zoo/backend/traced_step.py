"""A step that carries a state, on torch: traced once a shape, then run without Keras around it."""

import threading

import keras
import torch
from keras import ops

_TRACING = threading.Lock()  # torch.fx puts functions of its own into torch.nn.Module while it traces


def traced_step(function, variables):
    """`compiled_step` on torch: from the second call of a shape on, its operations alone, the state written in place.

    Most of a small decoding step are otherwise Keras looking at layers and arguments, and copies of the cache.
    """
    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import

    traced = {}

    def pure(values, state, inputs):
        with keras.StatelessScope(state_mapping=list(zip(variables, values))):
            return function(state, *inputs)

    @torch.no_grad()
    def step(state, *inputs):
        inputs = tuple(ops.convert_to_tensor(x, "int32") if isinstance(x, int) else x for x in inputs)
        shapes = tuple(None if x is None else (x.shape, x.dtype) for x in keras.tree.flatten((state, inputs)))
        if shapes not in traced:
            traced[shapes] = None
            return function(state, *inputs)
        values = [variable.value.detach() for variable in variables]
        if traced[shapes] is None:
            with _TRACING:
                if traced[shapes] is None:
                    graph = make_fx(pure)(values, state, inputs)
                    _tidy(graph, len(values), len(keras.tree.flatten(state)))
                    traced[shapes] = graph  # whole: other threads run it from here on
        return traced[shapes](values, state, inputs)

    return step


def _tidy(traced, num_values, num_state):
    """Let a traced step write into its state instead of a copy, and compute once what all layers compute of its inputs.

    Args:
        traced: `torch.fx.GraphModule`, changed. num_values, num_state: ints, its first placeholders: weights, then state.
    """
    graph, first = traced.graph, {}
    placeholders = list(graph.find_nodes(op="placeholder"))
    for part in placeholders[num_values : num_values + num_state]:
        for copy in [node for node in part.users if node.target is torch.ops.aten.clone.default]:
            if len(part.users) == 1:  # nobody else wants the old values
                copy.replace_all_uses_with(part)
                graph.erase_node(copy)
    written = {node.args[0] for node in graph.nodes if _writes(node)}
    for node in reversed(graph.nodes):
        if node in written and _shares_memory(node):
            written.update(node.all_input_nodes)
    known = set(placeholders[num_values + num_state :]) - written
    for node in list(graph.nodes):
        if node.op == "get_attr":
            constant = getattr(traced, node.target)
            key = (str(constant.dtype), str(constant.tolist())) if constant.numel() == 1 else node.name
        elif node.op == "call_function" and _repeats(node) and known.issuperset(node.all_input_nodes):
            key = (str(node.target), str(node.args), str(node.kwargs))
        else:
            continue
        if node in written:
            continue
        if key in first:
            node.replace_all_uses_with(first[key])
            graph.erase_node(node)
        else:
            first[key] = node
            known.add(node)
    graph.eliminate_dead_code()
    traced.recompile()


def _writes(node):
    """Whether an operation of a traced graph changes a tensor."""
    return node.op == "call_function" and getattr(getattr(node.target, "_schema", None), "is_mutable", False)


def _repeats(node):
    """Whether an operation gives the same each time and does nothing else."""
    return not _writes(node) and torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())


def _shares_memory(node):
    """Whether the result of an operation of a traced graph is a view of its first argument, or that itself."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and (schema is None or any(one.alias_info for one in schema.returns))
