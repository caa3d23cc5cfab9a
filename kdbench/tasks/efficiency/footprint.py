"""`efficiency.footprint`: what a model is made of, and what memory and time it takes to have it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from kdbench.models.protocols import FOOTPRINT, TIME_TEXT
from kdbench.registry import task
from kdbench.results.sample import Sample
from kdbench.tasks.task import Context, Item, Metric, ModelTask, TaskParams

if TYPE_CHECKING:
    from kdbench.tasks.panel import Panel

METRICS = [
    Metric("parameters", "parameters", "lower", "numbers in the weights, tied ones once", "exact"),
    Metric(
        "parameters.active", "parameters", "lower",
        "those that take part in a token: of a mixture of experts, the experts that it is sent to; of a "
        "model that may leave early, all",
        "exact",
    ),
    Metric("parameters.trainable", "parameters", "lower", "those with gradients, as loaded", "exact"),
    Metric("disk_bytes", "bytes", "lower", "size of the weight files", "exact"),
    Metric("memory_bytes", "bytes", "lower", "parameters and buffers as loaded, by dtype", "exact"),
    Metric(
        "flops.per_token", "FLOP (multiply-add = 2)", "lower",
        "matrix products and attention of one further token behind the prompt", "exact",
    ),
    Metric(
        "kv_cache_bytes_per_token", "bytes/token", "lower",
        "keys and values that a token adds to the cache", "exact",
    ),
    Metric(
        "peak_memory", "bytes", "lower",
        "most memory of loading and one run in a process of its own: CPU resident set with children, "
        "CUDA torch's allocations",
        "p50",
    ),
    Metric(
        "peak_memory.weights", "bytes", "lower",
        "CPU tensors of the loaded model, CUDA torch's allocations behind loading", "p50",
    ),
    Metric(
        "peak_memory.activations", "bytes", "lower",
        "the run's peak above what was there when it began, without its cache", "p50",
    ),
    Metric("peak_memory.cache", "bytes", "lower", "keys and values of the run's tokens", "p50"),
    Metric("load_time", "s", "lower", "loading in a process of its own, imports left out", "p50"),
]  # fmt: skip


class FootprintParams(TaskParams):
    """The run whose memory is measured."""

    batch: int = Field(1, ge=1, description="rows")
    prompt_tokens: int = Field(128, ge=1, description="tokens of each prompt")
    new_tokens: int = Field(16, ge=1, description="tokens generated for each")
    loads: int = Field(
        3, ge=1, le=32, description="processes that load the model, one after another"
    )


@task("efficiency.footprint")
class Footprint(ModelTask):
    """Needs models that are loaded into this process."""

    version = 2
    about = "parameters, bytes, FLOPs per token, KV cache, peak memory and load time of a model"
    source = "kdbench; FLOPs by torch's counter on a twin without weights"
    timing = True
    headlines = ("parameters", "peak_memory")
    Params = FootprintParams
    params: FootprintParams

    @classmethod
    def panels(cls) -> Sequence[Panel]:
        from kdbench.tasks.panels import FOOTPRINT

        return FOOTPRINT

    @property
    def label(self) -> str:
        asked = self.params
        return f"efficiency/footprint/b{asked.batch}-p{asked.prompt_tokens}-n{asked.new_tokens}"

    def verbs(self) -> frozenset[str]:
        return frozenset({TIME_TEXT, FOOTPRINT})

    def metrics(self) -> list[Metric]:
        return list(METRICS)

    def protocol(self) -> dict[str, str]:
        asked = self.params
        return {
            "run": f"{asked.batch} x ({asked.prompt_tokens} + {asked.new_tokens} tokens)",
            "flops": "multiply-add = 2, attention in full, last token's logits",
            "memory": "own process, CPU: resident set with children, weights by their tensors, CUDA: "
            "allocated by torch",
            "loads": str(asked.loads),
        }

    def data_fingerprint(self) -> str:
        return "none"

    def items(self, limit: int | None) -> list[Item]:
        count = self.params.loads if limit is None else min(limit, self.params.loads)
        names = [f"{self.label}:{index}" for index in range(count)]
        ids = [sha256(name.encode()).hexdigest()[:16] for name in names]
        return [Item(one, index, one, None) for index, one in enumerate(ids)]

    def measure(self, model: Any, items: Sequence[Item], context: Context) -> list[Sample]:
        from kdbench.models.timing.own_process import measured_alone
        from kdbench.models.timing.text_run import TextShape

        asked = self.params
        shape = TextShape(asked.batch, asked.prompt_tokens, asked.new_tokens)
        made_of = model.footprint(shape.tokens)
        (source,) = context.sources.values()
        scores = {
            "parameters": made_of.parameters,
            "parameters.active": made_of.active,
            "parameters.trainable": made_of.trainable,
            "memory_bytes": sum(made_of.bytes_by_dtype.values()),
            "flops.per_token": made_of.flops,
            "kv_cache_bytes_per_token": made_of.cache_bytes,
        }
        on_disk = _disk_bytes(source, context.folder)
        skipped = {}
        if on_disk is None:
            skipped["disk_bytes"] = "the adapter does not know the size of the weight files"
        else:
            scores["disk_bytes"] = on_disk
        found = []
        for item in items:
            alone = measured_alone(source, context.folder, shape)
            own = {
                "peak_memory": alone["peak"],
                "peak_memory.weights": alone["weights"],
                "peak_memory.activations": alone["activations"],
                "peak_memory.cache": alone["cache"],
                "load_time": alone["load_seconds"],
            }
            extra = {"bytes_by_dtype": made_of.bytes_by_dtype, "skipped": skipped}
            found.append(Sample(item.id, item.index, item.cluster, scores | own, extra=extra))
        return found


def _disk_bytes(source: dict[str, Any], folder: str) -> int | None:
    from kdbench import registry
    from kdbench.models.adapter import LoadSettings

    adapter = registry.adapters.get(source["adapter"])
    params = adapter.Params.model_validate(source["params"])
    size = adapter(params, Path(folder), LoadSettings(**source["load"])).size()
    return size.weight_bytes if size else None
