"""Translation models as ordinary Hugging Face MarianMT folders: made, read with suspicion, written by contract.

The contract of a folder that we write, so that transformers, CTranslate2 and our own translator decode the same tokens:
one embedding matrix [vocab, hidden] for source, target and output, stored once; `<pad>` the last id, banned in
generation, its row zero (CTranslate2 starts decoding from a zero vector, Hugging Face from the pad embedding); float32;
fixed sinusoidal positions, not stored. A folder that we load may have separate or untied embeddings; `distilmt check`
says what does not work with it.
"""

from __future__ import annotations

import copy
import logging
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, MarianConfig, MarianMTModel

from distilmt.errors import ConfigError, DataError, ResourceError
from distilmt.marian.model_folder import read_config, read_json, read_tensors, read_vocabulary, sinusoids, tied_names
from distilmt.marian.sizes import SIZES, Size, parse_size
from distilmt.marian.weights import WEIGHTS, weights_hash, write_weights
from distilmt.state.storage import disk_errors, sync_folder, write_bytes, write_json

if TYPE_CHECKING:
    from distilmt.vocab import Vocab

__all__ = [
    "SIZES", "Size", "convert_pickle", "copy_weights", "create", "folder_of", "load", "parameters", "parse_size", "save",
    "size_bytes", "size_of", "weights_hash",
]  # fmt: skip

logger = logging.getLogger("distilmt")

TOKENIZER_FILES = ("source.spm", "target.spm", "vocab.json", "target_vocab.json", "tokenizer_config.json")
MODEL_FILES = ("config.json", "generation_config.json", WEIGHTS, *TOKENIZER_FILES)
OTHER_TOKENIZERS = (  # of the families that distilmt.vocabulary.tokenizer reads
    "tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "merges.txt", "special_tokens_map.json",
    "added_tokens.json",
)  # fmt: skip


def create(
    size: Size,
    vocab: Vocab,
    *,
    dropout: float = 0.1,
    attention_dropout: float = 0.0,
    activation_dropout: float = 0.0,
    seed: int = 1,
    max_positions: int = 512,
    activation: str = "relu",
) -> MarianMTModel:
    """Makes an untrained model; torch's own random state is neither used nor changed.

    As in Marian and fairseq, linear layers are Glorot-uniform and the embedding, whose use as input is scaled by
    hidden^0.5, has standard deviation hidden^-0.5.

    Args:
        size: layers and widths.
        vocab: decides the number of rows and the ids of the end and pad symbols.
        dropout, attention_dropout, activation_dropout: probabilities, of states, attention weights and inside feed-forward layers.
        seed: of the weights.
        max_positions: longest sentence in tokens, end symbol included.
        activation: of the feed-forward layers: relu, gelu or swish.
    Returns: a float32 model in train mode on the CPU.
    """
    config = MarianConfig(
        vocab_size=vocab.size, decoder_vocab_size=vocab.size, pad_token_id=vocab.pad_id, eos_token_id=vocab.eos_id,
        decoder_start_token_id=vocab.pad_id, forced_eos_token_id=None,  # reaching the longest length stays visible
        d_model=size.hidden, scale_embedding=True,
        max_position_embeddings=max_positions, static_position_embeddings=True,
        encoder_layers=size.encoder_layers, encoder_ffn_dim=size.ffn, encoder_attention_heads=size.heads,
        decoder_layers=size.decoder_layers, decoder_ffn_dim=size.ffn, decoder_attention_heads=size.heads,
        activation_function=activation,
        dropout=dropout, attention_dropout=attention_dropout, activation_dropout=activation_dropout,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    model = _skeleton(config)
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        value = torch.zeros(tensor.shape)
        if "layer_norm.weight" in name:
            value.fill_(1.0)
        elif name == "model.shared.weight":
            value.normal_(0.0, size.hidden**-0.5, generator=generator)
            value[vocab.pad_id] = 0.0
        elif name.endswith(("proj.weight", "fc1.weight", "fc2.weight")):
            nn.init.xavier_uniform_(value, generator=generator)
        tensors[name] = value
    for name in ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = tensors["model.shared.weight"]
    _fill(model, tensors)
    model.generation_config = _generation_config(model)
    return model.train()


def load(name: str | Path, *, unsafe_pickle: bool = False) -> MarianMTModel:
    """Loads a Marian folder, of transformers 4 or 5, by path or hub name; proves what it finds.

    Args:
        name: folder, or a model on the Hugging Face hub.
        unsafe_pickle: accept `pytorch_model.bin`, whose format has let files run code.
    Returns: a float32 model in eval mode on the CPU, its ties proven.
    Raises: DataError for damaged, hostile or contradictory files; ConfigError and ResourceError as `folder_of`.
    """
    folder = folder_of(name, unsafe_pickle=unsafe_pickle)
    config = read_config(folder)
    read_vocabulary(folder, config)
    model = _skeleton(config)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    _fill(model, read_tensors(folder, config, shapes, unsafe_pickle))
    model.generation_config = _stored_generation_config(folder)
    return model.eval()


def convert_pickle(name: str | Path) -> Path:
    """Writes `model.safetensors` beside a folder's `pytorch_model.bin`, whose sender is trusted; returns the folder.

    Raises: as `load`; a folder that has `model.safetensors` already stays as it is.
    """
    folder = folder_of(name, unsafe_pickle=True)
    if not (folder / WEIGHTS).exists():
        model = load(folder, unsafe_pickle=True)
        vocab = read_vocabulary(folder, model.config)
        write_weights(folder / WEIGHTS, _stored_tensors(model), {"vocabulary": vocab.hash})
    return folder


def _skeleton(config: MarianConfig) -> MarianMTModel:
    """A model without memory, for its names and shapes."""
    with torch.device("meta"):
        return MarianMTModel(config)


def _fill(model: MarianMTModel, tensors: dict[str, Tensor]) -> None:
    """Gives a skeleton its tensors and sinusoids; names with one tensor become one parameter, proven by pointer.

    Not `from_pretrained`: in transformers 5.23 it leaves shared embeddings random when the output is untied, unties
    with a mere warning when two copies in a file differ, and lets stored positions replace the sinusoids.
    """
    config = model.config
    positions = torch.from_numpy(sinusoids(config.max_position_embeddings, config.d_model))
    parameters: dict[int, nn.Parameter] = {}
    for name, _ in list(model.named_parameters(remove_duplicate=False)):
        parent = model.get_submodule(name.rpartition(".")[0])
        if "embed_positions" in name:
            parent.weight = nn.Parameter(positions.clone(), requires_grad=False)
            continue
        tensor = tensors[name]
        setattr(parent, name.rpartition(".")[2], parameters.setdefault(tensor.data_ptr(), nn.Parameter(tensor)))
    model.final_logits_bias = nn.Buffer(tensors["final_logits_bias"])
    prove_ties(model)


def prove_ties(model: MarianMTModel) -> None:
    """Fault case 25: matrices that the config calls one must be one, by pointer.

    Raises: DataError naming the two that came apart.
    """
    for names in tied_names(model.config):
        for name in names[1:]:
            if model.get_parameter(name).data_ptr() != model.get_parameter(names[0]).data_ptr():
                raise DataError(
                    f"tied weights were lost: {name} is no longer {names[0]} - load the model with distilmt.models.load"
                )


def save(model: MarianMTModel, vocab: Vocab, folder: str | Path) -> None:
    """Writes a model folder that keeps the contract above; killed at any instant, each file is old or new, and whole.

    Everything is first written beside `folder`, so a full disk leaves it as it was; other files in it stay.

    Args:
        model: a MarianMTModel or a subclass, whose additional parameters are not written; any dtype or device.
        vocab: the one that it was made for.
    Raises: ConfigError where vocabulary and model disagree; DataError for lost ties; ResourceError for the disk.
    """
    folder = Path(folder)
    rows = model.lm_head.weight.shape[0]
    if rows != vocab.size or vocab.pad_id != vocab.size - 1 or model.config.pad_token_id != vocab.pad_id:
        raise ConfigError(
            f"save: the model has {rows} ids with pad {model.config.pad_token_id}, its vocabulary {vocab.size} "
            f"with pad {vocab.pad_id} - save a model with the vocabulary it was made for, the pad last"
        )
    prove_ties(model)
    config = copy.deepcopy(model.config)
    config.architectures, config.dtype = ["MarianMTModel"], "float32"
    stage = folder.absolute().with_name(f".{folder.absolute().name}.saving")
    with disk_errors(folder):
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        try:
            vocab.save(stage)
            tokenizer = read_json(stage / "tokenizer_config.json") | {
                "model_max_length": config.max_position_embeddings
            }
            write_json(stage / "tokenizer_config.json", tokenizer)
            write_bytes(stage / "config.json", config.to_json_string().encode())
            write_bytes(stage / "generation_config.json", _generation_config(model).to_json_string().encode())
            write_weights(stage / WEIGHTS, _stored_tensors(model), {"vocabulary": vocab.hash})
            if not folder.exists():
                os.replace(stage, folder)
            else:
                for path in sorted(stage.iterdir(), key=lambda path: path.name == WEIGHTS):  # weights last
                    os.replace(path, folder / path.name)
                sync_folder(folder)
            sync_folder(folder.absolute().parent)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _stored_tensors(model: MarianMTModel) -> dict[str, Tensor]:
    """Float32 copies of what a file stores, by name: ties once, no positions, the pad row zero."""
    state = model.state_dict()
    groups = tied_names(model.config)
    repeated = {name for names in groups for name in names[1:]}
    stored = {}
    for name in _skeleton(model.config).state_dict():
        if name not in repeated and "embed_positions" not in name:
            stored[name] = state[name].detach().to("cpu", torch.float32, copy=True).contiguous()
    pad = model.config.pad_token_id
    for names in groups:
        if drift := float(stored[names[0]][pad].abs().max()):
            logger.warning(
                "save: the pad row of %s has drifted from zero by %.2g; it is written as zero", names[0], drift
            )
            stored[names[0]][pad] = 0.0
    return stored


def _generation_config(model: MarianMTModel) -> GenerationConfig:
    """The model's generation settings, with what the contract demands filled in."""
    config, generation = model.config, copy.deepcopy(model.generation_config)
    generation._from_model_config = False  # else transformers may derive them from config.json again
    generation.decoder_start_token_id = generation.pad_token_id = config.pad_token_id
    generation.eos_token_id = config.eos_token_id
    generation.bad_words_ids = [ids for ids in generation.bad_words_ids or [] if ids != [config.pad_token_id]] + [
        [config.pad_token_id]
    ]
    generation.num_beams = generation.num_beams or 4
    generation.max_length = generation.max_length or config.max_position_embeddings
    return generation


def _stored_generation_config(folder: Path) -> GenerationConfig:
    """From generation_config.json, or from config.json, where transformers before 4.26 kept these settings."""
    name = "generation_config.json" if (folder / "generation_config.json").exists() else "config.json"
    try:
        return GenerationConfig.from_pretrained(
            folder, config_file_name=name, local_files_only=True, _from_model_config=name == "config.json"
        )
    except Exception as error:  # OSError, ValueError and TypeError have been seen, by what is wrong with the file
        raise DataError(f"{folder / name}: {' '.join(str(error).split())[:200]} - mend or delete the file") from None


def folder_of(name: str | Path, *, unsafe_pickle: bool = False) -> Path:
    """The local folder of a model; a hub name is fetched, or found in the hub's cache, by `huggingface_hub`.

    Raises: ConfigError for what is neither a folder nor a hub name; ResourceError where the hub cannot be reached.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ConfigError(f"{name}: is a file - name the folder that holds config.json")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", str(name), re.ASCII):
        raise ConfigError(
            f"{name}: no such folder - check the path, or give a hub name like Helsinki-NLP/opus-mt-de-en"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    patterns = [*MODEL_FILES, *OTHER_TOKENIZERS, *(["pytorch_model.bin"] if unsafe_pickle else [])]
    try:
        return Path(snapshot_download(str(name), allow_patterns=patterns))
    except RepositoryNotFoundError:
        raise ConfigError(
            f"{name}: no such folder, and no public model of that name on the hub - check the name"
        ) from None
    except Exception as error:  # httpx, the hub and the disk each have their own families of errors
        reason = " ".join(str(error).split()).split(". ")[0][:200]
        raise ResourceError(
            f"{name}: no such folder, and the hub could not be asked ({type(error).__name__}: {reason}) - "
            "check the path or the network"
        ) from None


def copy_weights(source: MarianMTModel, target: MarianMTModel) -> None:
    """Copies the weights of a model of the same shape and number of ids; `target` keeps its dropout.

    Raises: ConfigError where the shapes differ.
    """
    shapes, wanted = ({name: tuple(t.shape) for name, t in model.state_dict().items()} for model in (source, target))
    for name in sorted(shapes.keys() | wanted.keys()):
        if "embed_positions" not in name and shapes.get(name) != wanted.get(name):
            raise ConfigError(
                f"cannot start from these weights: {name} has shape {shapes.get(name)}, {wanted.get(name)} is needed"
            )
    weights = {name: tensor for name, tensor in source.state_dict().items() if "embed_positions" not in name}
    target.load_state_dict(weights, strict=False)


def size_of(model: MarianMTModel) -> Size:
    """The model's Size.

    Raises: ConfigError where encoder and decoder differ in heads or feed-forward width, which Size cannot say.
    """
    config = model.config
    if (config.encoder_ffn_dim, config.encoder_attention_heads) != (
        config.decoder_ffn_dim,
        config.decoder_attention_heads,
    ):
        raise ConfigError(
            "size: encoder and decoder of this model differ in feed-forward width or heads - no Size describes it"
        )
    return Size(
        config.encoder_layers,
        config.decoder_layers,
        config.d_model,
        config.encoder_ffn_dim,
        config.encoder_attention_heads,
    )


def parameters(model: nn.Module) -> int:
    """Number of weights, ties counted once, fixed positions left out."""
    return sum(parameter.numel() for name, parameter in model.named_parameters() if "embed_positions" not in name)


def size_bytes(folder: str | Path) -> int:
    """Bytes of the model's files: weights, configs, vocabulary; not of checkpoints or logs beside them."""
    with disk_errors(folder):
        return sum(path.stat().st_size for path in Path(folder).iterdir() if path.name in MODEL_FILES)
