"""FLOPs, parameters and bytes against closed forms, for a Llama, a mixture, an encoder-decoder, a ResNet and
a UNet."""

from __future__ import annotations

from typing import Any

import pytest

from kdbench.errors import ModelError
from kdbench.metrics.flops import decode_flops, llama_shape, prefill_flops
from kdbench.models import torchvision_on_cpu
from kdbench.models.timing.flop_count import counted, decoder_shape, text_flops
from kdbench.models.timing.footprint import footprint_of
from kdbench.models.timing.text_run import Execution, TextRun, TextShape, running

torch = pytest.importorskip("torch")
torchvision_on_cpu.mend()


@pytest.fixture(scope="module")
def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=100, hidden_size=32, intermediate_size=80, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        )
    ).eval()  # fmt: skip


SHAPE = llama_shape(32, 80, 3, 4, 2, 8, 100)


def test_torch_counts_a_llama_as_the_closed_form_does(llama: Any) -> None:
    assert text_flops(llama, 24, 24) == (prefill_flops(SHAPE, 24), decode_flops(SHAPE, 24))
    assert decoder_shape(llama) == SHAPE


def test_attention_on_a_cpu_is_counted(llama: Any) -> None:
    ids = torch.zeros((1, 16), dtype=torch.long)
    real = counted(lambda: llama(ids, logits_to_keep=1))
    assert real == prefill_flops(SHAPE, 16)
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as plain:
        llama(ids, logits_to_keep=1)
    missing = real - plain.get_total_flops()
    assert missing in (0, 4 * SHAPE.attention * 16**2)  # torch may learn to count it


def test_a_llama_is_made_of_what_its_configuration_says(llama: Any) -> None:
    found = footprint_of(llama, context=24)
    layers = 3 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 80 + 2 * 32)
    assert found.parameters == layers + 2 * 100 * 32 + 32
    assert found.active == found.trainable == found.parameters
    assert found.bytes_by_dtype["float32"] >= 4 * found.parameters
    assert found.cache_bytes == 2 * 3 * 2 * 8 * 4
    assert found.flops == decode_flops(SHAPE, 24)


def test_tied_embeddings_count_once_and_half_precision_halves_bytes() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=100, hidden_size=32, intermediate_size=80, num_hidden_layers=1,
        num_attention_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    found = footprint_of(model, 8)
    assert found.parameters == 4 * 32 * 32 + 3 * 32 * 80 + 2 * 32 + 100 * 32 + 32
    buffers = sum(tensor.numel() for tensor in model.buffers())
    assert found.bytes_by_dtype["bfloat16"] == 2 * (found.parameters + buffers)
    assert found.cache_bytes == 2 * 1 * 32 * 2


def test_of_a_mixture_of_experts_those_count_that_a_token_is_sent_to() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    model = MixtralForCausalLM(
        MixtralConfig(
            vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
        )
    ).eval()  # fmt: skip
    attention, router, expert = 2 * 32 * 32 + 2 * 32 * 16, 32 * 4, 3 * 32 * 64
    found = footprint_of(model, 10)
    rest = 2 * (attention + router + 2 * 32) + 2 * 100 * 32 + 32
    assert found.parameters == rest + 2 * 4 * expert
    assert found.active == rest + 2 * 2 * expert
    linear = 2 * (attention + router + 2 * expert)
    assert found.flops == 2 * (linear + 100 * 32) + 4 * (2 * 32) * 10
    one = TextRun(model, 100, TextShape(1, 4, 2), 0, Execution()).work().decode.moved
    many = TextRun(model, 100, TextShape(8, 4, 2), 0, Execution()).work().decode.moved
    weights = 4 * (found.parameters - 100 * 32)  # the embedding's rows are looked up
    assert one == pytest.approx(weights * found.active / found.parameters, rel=0.02)
    assert many == pytest.approx(weights, rel=0.05)  # eight rows reach every expert


def test_a_model_that_may_leave_early_counts_with_all_its_layers(llama: Any) -> None:
    from transformers import LlamaForCausalLM

    class LeavingEarly(LlamaForCausalLM):  # type: ignore[misc]
        """Leaves behind its first layer where that one is sure."""

        sure = 0.0

        def forward(self, input_ids: Any, past_key_values: Any = None, **more: Any) -> Any:
            whole, self.model.layers = self.model.layers, self.model.layers[:1]
            early = super().forward(input_ids)
            self.model.layers = whole
            if early.logits[0, -1].softmax(-1).max() > self.sure:
                early.past_key_values = past_key_values
                return early
            return super().forward(input_ids, past_key_values=past_key_values, **more)

    model = LeavingEarly(llama.config).eval()
    assert text_flops(model, 24, 24) == (prefill_flops(SHAPE, 24), decode_flops(SHAPE, 24))
    model.sure = 1.0
    found = footprint_of(model, context=24)
    assert found.flops == decode_flops(SHAPE, 24)
    assert found.active == found.parameters == footprint_of(llama, 24).parameters


def test_of_an_encoder_decoder_whose_way_depends_on_values_nothing_is_guessed() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    class LeavingEarly(T5ForConditionalGeneration):  # type: ignore[misc]
        def forward(self, **given: Any) -> Any:
            found = super().forward(**given)
            return found if found.logits.max() > 0 else super().forward(**given)

    config = T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    with pytest.raises(ModelError, match="depend on the values that pass through it"):
        text_flops(LeavingEarly(config).eval(), 8, 10)


def test_an_encoder_decoder_runs_its_encoder_once_for_a_prompt() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    ).eval()
    prompt, token = text_flops(model, 16, 18)
    encoder = 2 * (2 * 16 * (4 * 32 * 32 + 2 * 32 * 64) + 4 * 32 * 16**2)
    first = (
        prompt - encoder
    )  # the decoder's first step, which also reads keys and values off the prompt
    assert 0 < first < encoder
    assert 0 < token < first
    marks: list[int] = []
    TextRun(model, 100, TextShape(2, 16, 4), 0, Execution())(lambda: marks.append(1))
    assert len(marks) == 2


def test_a_resnet_counts_as_its_closed_form() -> None:
    from torchvision.models import resnet18

    with torch.device("meta"):
        model = resnet18().eval()
        image = torch.zeros((1, 3, 224, 224))
    stage = lambda width, side: 4 * 9 * width * width * side**2  # noqa: E731
    multiplied = 49 * 3 * 64 * 112**2 + stage(64, 56)
    for width, side in ((128, 28), (256, 14), (512, 7)):
        narrow = width // 2
        multiplied += 9 * narrow * width * side**2 + 3 * 9 * width * width * side**2
        multiplied += narrow * width * side**2  # the shortcut
    multiplied += 512 * 1000
    assert counted(lambda: model(image)) == 2 * multiplied
    assert sum(weight.numel() for weight in model.parameters()) == 11_689_512


def test_a_unet_counts_as_its_closed_form() -> None:
    diffusers = pytest.importorskip("diffusers")

    with torch.device("meta"):
        model = diffusers.UNet2DModel(
            sample_size=16, in_channels=3, out_channels=3, block_out_channels=(32, 64),
            layers_per_block=1, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8, norm_num_groups=8,
        ).eval()  # fmt: skip
        image = torch.zeros((1, 3, 16, 16))
    expected = 0
    sides: dict[Any, tuple[int, ...]] = {}
    hooks = [
        module.register_forward_hook(lambda m, given, out: sides.update({m: tuple(out.shape)}))
        for module in model.modules()
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    with torch.inference_mode():
        model(image, 1)
    for hook in hooks:
        hook.remove()
    for module, out in sides.items():
        if isinstance(module, torch.nn.Conv2d):
            expected += 2 * module.weight.numel() * out[2] * out[3]
        else:
            expected += 2 * module.weight.numel() * (out[1] if len(out) == 3 else 1)
    attention = [m for m in model.modules() if type(m).__name__ == "Attention"]
    assert len(attention) == 4  # one down, one in the middle, two up
    expected += sum(4 * 64 * (8 * 8) ** 2 for _ in attention)
    assert counted(lambda: model(image, 1)) == expected


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_model_that_wants_to_stop_early_generates_all_its_tokens(llama: Any, cache: Any) -> None:
    from transformers import LlamaForCausalLM

    ends = LlamaForCausalLM(llama.config).eval()
    torch.nn.init.zeros_(
        ends.lm_head.weight
    )  # the first token is always the best one: the end of text
    ends.config.eos_token_id = ends.generation_config.eos_token_id = 0
    passes: list[int] = []
    hook = ends.register_forward_hook(lambda module, given, out: passes.append(1))
    TextRun(ends, 100, TextShape(2, 8, 6), 0, Execution(cache=cache))(lambda: None)
    hook.remove()
    assert len(passes) == 6  # the prompt, and five further tokens


def test_settings_of_a_run_end_with_it(llama: Any) -> None:
    before = llama.config._attn_implementation, torch.get_num_threads()
    with running(llama, Execution(attention="eager", threads=2)):
        assert (llama.config._attn_implementation, torch.get_num_threads()) == ("eager", 2)
    assert (llama.config._attn_implementation, torch.get_num_threads()) == before
    refused = pytest.raises(ModelError, match="attention 'flash_attention_2'")
    with refused, running(llama, Execution(attention="flash_attention_2")):
        pass
    assert llama.config._attn_implementation == before[0]
