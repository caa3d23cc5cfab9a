"""A diffusers pipeline for small class-conditional models in pixel space.

diffusers ships pipelines for this only with a network of their own (DiT, consistency models). This one takes
any `UNet2DModel` with class embeddings and any scheduler, and is saved in diffusers' layout.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor


class ClassConditionalPipeline(DiffusionPipeline):  # type: ignore[misc]
    """`num_inference_steps` and `guidance_scale` are what the model is used with unless told otherwise.

    `null_label` is the class that stands for "any"; guidance compares with it. Without one, or at a scale
    of 1, a step is one evaluation.
    """

    model_cpu_offload_seq = "unet"

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        num_inference_steps: int = 50,
        guidance_scale: float = 1.0,
        null_label: int | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            null_label=null_label,
        )

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        timesteps: list[int] | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> Any:
        """One image for each label: numpy (N, height, width, channels) from 0 to 1, or PIL images.

        `generator` is one for all, or one for each image. Raises ValueError for labels that the network has
        no class for.
        """
        unet, scheduler = self.unet, self.scheduler
        labels = self._labels(class_labels)
        scale = self.config.guidance_scale if guidance_scale is None else guidance_scale
        null = self.config.null_label if scale != 1 else None
        side = unet.config.sample_size
        height, width = side if isinstance(side, (tuple, list)) else (side, side)
        shape = (len(labels), unet.config.in_channels, height, width)
        noise = randn_tensor(shape, generator=generator, device=unet.device, dtype=unet.dtype)
        images = noise * getattr(scheduler, "init_noise_sigma", 1.0)
        self._set_timesteps(num_inference_steps, timesteps)
        more = {"generator": generator} if _takes(scheduler.step, "generator") else {}
        for step in scheduler.timesteps:
            seen = images
            if hasattr(scheduler, "scale_model_input"):
                seen = scheduler.scale_model_input(images, step)
            found = self._predicted(seen, step, labels, scale, null)
            images = scheduler.step(found, step, images, **more, return_dict=False)[0]
        pixels = (images.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        made = self.numpy_to_pil(pixels) if output_type == "pil" else pixels
        return ImagePipelineOutput(images=made) if return_dict else (made,)

    def _predicted(
        self,
        seen: torch.Tensor,
        step: torch.Tensor,
        labels: torch.Tensor,
        scale: float,
        null: int | None,
    ) -> torch.Tensor:
        if null is None:
            return self.unet(seen, step, class_labels=labels).sample  # type: ignore[no-any-return]
        both = torch.cat([labels, torch.full_like(labels, null)])
        with_label, without = self.unet(
            torch.cat([seen, seen]), step, class_labels=both
        ).sample.chunk(2)
        return without + scale * (with_label - without)  # type: ignore[no-any-return]

    def _set_timesteps(self, steps: int | None, timesteps: list[int] | None) -> None:
        if timesteps is not None:
            self.scheduler.set_timesteps(timesteps=timesteps, device=self.unet.device)
        else:
            count = self.config.num_inference_steps if steps is None else steps
            self.scheduler.set_timesteps(count, device=self.unet.device)

    def _labels(self, class_labels: Sequence[int]) -> torch.Tensor:
        classes = self.unet.config.num_class_embeds
        if classes is None:
            raise ValueError("the network has no class embeddings (num_class_embeds)")
        wrong = [label for label in class_labels if not 0 <= label < classes]
        if wrong:
            raise ValueError(f"no class {wrong[0]}: the network has {classes}, from 0")
        return torch.tensor(list(class_labels), dtype=torch.long, device=self.unet.device)


def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters
