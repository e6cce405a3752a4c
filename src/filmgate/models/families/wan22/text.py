"""Prompts as embeddings, by the encoder of UMT5; its weights are read block by block.

The encoder is larger than a transformer and is used once: no more than two of its blocks are in
memory at a time, and nothing of it stays. Embeddings are stored in the cache of results, so the
same prompt does not need it again.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from filmgate.core.wrappers.cached import ResultStore
from filmgate.device.block_stream import Block, BlockStack, BlockWeights
from filmgate.errors import BadSetting, BadWeights
from filmgate.models.families.wan22.names import fit_text_encoder
from filmgate.models.families.wan22.published import (
    PROMPT_TOKENS,
    Settings,
    explain_missing,
    explain_settings,
)
from filmgate.weights.packed import take_rows, unpack
from filmgate.weights.store import WeightsStore
from filmgate.weights.tensor_files import TensorFile, open_tensors

_BLOCKS, _TABLE = "encoder.block.", "shared.weight"
_LIBRARIES = ("torch", "transformers", "tokenizers", "ftfy")
_PAD = "<pad>"


class HasTextEncoder(Protocol):
    """Parts of a model, one of which encodes prompts."""

    def open_text_encoder(self) -> TextEncoder:
        """Return what encodes prompts."""
        ...


def embed(
    parts: HasTextEncoder, prompts: Sequence[str], cache: ResultStore | None = None
) -> Tensor:
    """Return the embeddings of prompts, (n, 512, width), on the CPU, in the dtype of the parts.

    Each prompt is encoded alone, so its embedding does not depend on the others. Those in `cache`
    are not computed. Raises BadWeights, and BadSetting without the libraries.
    """
    encoder = parts.open_text_encoder()
    return torch.stack([_embed_one(encoder, clean_prompt(prompt), cache) for prompt in prompts])


def explain_length(parts: HasTextEncoder, prompts: Sequence[str]) -> str:
    """Return what the model does not read of long prompts, "" if it reads them all."""
    encoder, notices = parts.open_text_encoder(), []
    for prompt, what in zip(prompts, ("the prompt", "the negative prompt"), strict=False):
        count, left = encoder.find_excess(clean_prompt(prompt))
        if left:
            notices.append(f"{what} has {count} tokens, and the model reads {PROMPT_TOKENS}: the "
                           f"last {len(left)} characters are left out, from {left[:40]!r} "
                           "on")  # fmt: skip
    return "; ".join(notices)


def clean_prompt(prompt: str) -> str:
    """Return the prompt as the authors' code cleans it.

    ftfy repairs wrong decoding and replaces curly quotes and full-width letters; entities of HTML
    are replaced; white space becomes single spaces. Raises BadSetting without ftfy.
    """
    try:
        from ftfy import fix_text
    except ImportError as error:
        raise BadSetting("the model wan22 cleans prompts with ftfy: "
                         f"{explain_missing()}") from error  # fmt: skip
    text = html.unescape(html.unescape(fix_text(prompt)))
    return re.sub(r"\s+", " ", text.strip()).strip()


class TextEncoder:
    """The tokenizer and the encoder of prompts; weights are read while a prompt is encoded."""

    def __init__(
        self,
        paths: Sequence[Path],
        tokenizer: Path,
        settings: Settings,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        self._paths, self._tokenizer, self._settings = tuple(paths), tokenizer, settings
        self._device, self.dtype = device, dtype
        self.shape = (PROMPT_TOKENS, int(settings["d_model"]))

    def encode(self, prompt: str) -> Tensor:
        """Return the embedding of a cleaned prompt, (512, width); 0 after its last token."""
        ids, mask = self._tokenize(prompt)
        net, stack, file = self._open()
        try:
            with torch.inference_mode():
                rows = unpack(take_rows(file.read(_TABLE), ids), self.dtype)
                states = net(
                    inputs_embeds=rows[None].to(self._device),
                    attention_mask=mask[None].to(self._device),
                ).last_hidden_state[0]
                states = states * mask.to(states)[:, None]
        finally:
            stack.close()
        return states.cpu()  # type: ignore[no-any-return]

    def find_excess(self, prompt: str) -> tuple[int, str]:
        """Return how many tokens a cleaned prompt has, and the end of it that is not read."""
        if len(prompt.encode("utf-8", "surrogatepass")) < PROMPT_TOKENS - 2:
            return 0, ""  # a token is a byte at least: the vocabulary need not be loaded
        encoded = self._tokens.encode(prompt)
        count = len(encoded.ids)
        # the last of the tokens that are read marks the end
        left = prompt[encoded.offsets[PROMPT_TOKENS - 1][0] :] if count > PROMPT_TOKENS else ""
        return count, left

    def name_result(self, prompt: str) -> str:
        """Return the name under which the embedding of a cleaned prompt is stored."""
        digest, store = sha256(b"wan22 prompt 1"), WeightsStore.open_default()
        for path in (*self._paths, self._tokenizer):
            digest.update(store.sha256(path).encode())
        kind = self._device.partition(":")[0]
        digest.update(repr((sorted(self._settings.items()), str(self.dtype), kind)).encode())
        for library in _LIBRARIES:
            with suppress(PackageNotFoundError):
                digest.update(f"{library} {version(library)} ".encode())
        digest.update(prompt.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def _tokens(self) -> Any:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise BadSetting(f"the model wan22 needs tokenizers: {explain_missing()}") from error
        try:
            return Tokenizer.from_file(str(self._tokenizer))
        except Exception as error:  # untrusted bytes may raise anything in the reader
            raise BadWeights(f"{self._tokenizer} cannot be read as a tokenizer: {error!s:.200}; "
                             "download it again") from error  # fmt: skip

    def _tokenize(self, prompt: str) -> tuple[Tensor, Tensor]:
        """Return the numbers of 512 tokens, and which of them are not padding."""
        tokens, most = self._tokens, int(self._settings["vocab_size"])
        pad = tokens.token_to_id(_PAD)
        tokens.enable_truncation(PROMPT_TOKENS)
        encoded = tokens.encode(prompt)
        tokens.no_truncation()
        tokens.no_padding()
        ids = encoded.ids[:PROMPT_TOKENS]
        if pad is None or max((*ids, pad), default=0) >= most:
            raise BadWeights(f"{self._tokenizer} is the tokenizer of another model: the encoder "
                             f"knows {most} tokens; download both again")  # fmt: skip
        mask = torch.zeros(PROMPT_TOKENS, dtype=torch.int64)
        mask[: len(ids)] = 1
        return torch.tensor([*ids, *[pad] * (PROMPT_TOKENS - len(ids))]), mask

    def _open(self) -> tuple[Any, BlockStack, TensorFile]:
        """Return the encoder, its blocks run by the stack, and the file of its tensors."""
        from transformers import UMT5Config, UMT5EncoderModel

        settings = {**self._settings, "dropout_rate": 0.0}
        with torch.device("meta"), explain_settings("text encoder"):
            net = UMT5EncoderModel(UMT5Config(**settings)).eval().requires_grad_(False)
        shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
        file = fit_text_encoder(open_tensors(self._paths), shapes)
        template, count = net.encoder.block[0], len(net.encoder.block)

        def read(index: int) -> Block:
            start = f"{_BLOCKS}{index}."
            return {name.removeprefix(start): file.read(name)
                    for name in file.shapes if name.startswith(start)}  # fmt: skip

        weights = BlockWeights(count, read, lambda _, block: block, self._restore)
        stack = BlockStack(template, weights, self._device, 0, "disk")
        net.encoder.block = stack.make_modules()
        norm = "encoder.final_layer_norm.weight"
        last = unpack(file.read(norm), self.dtype).to(self._device)
        net.encoder.final_layer_norm.load_state_dict({"weight": last}, assign=True)
        return net, stack, file

    def _restore(self, index: int, block: Block) -> Mapping[str, Tensor]:
        return {name: unpack(packed, self.dtype) for name, packed in block.items()}


def _embed_one(encoder: TextEncoder, prompt: str, cache: ResultStore | None) -> Tensor:
    if cache is None:
        return encoder.encode(prompt)
    name = encoder.name_result(prompt)
    if data := cache.get(name):
        with suppress(Exception):  # whatever is wrong with it, it can be computed again
            stored = load(data)["embedding"]
            if tuple(stored.shape) == encoder.shape and stored.dtype == encoder.dtype:
                return stored
        cache.discard(name)
    embedding = encoder.encode(prompt)
    cache.put(name, save({"embedding": embedding.contiguous()}))
    return embedding
