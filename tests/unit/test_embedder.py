"""The embedder, as a model in this process and as a service that is asked: one port, vectors of length 1."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tenancy.embedding.model_parts import ModelParts
from tenancy.embedding.opening import bundled_model, open_embedder
from tenancy.embedding.port import Embedder, EmbedderUnavailable, TextKind, TextTooLong
from tenancy.embedding.prompts import Prompts, prompts_of
from tenancy.embedding.remote import RemoteEmbedder
from tenancy.embedding.sentence_transformer import SentenceTransformer
from tenancy.embedding.settings import EmbedderSettings
from tenancy.errors import Refused
from tenancy.platform.settings import loaded

KINDS: tuple[TextKind, ...] = ("query", "passage", "plain")
SECRET = "Hildegard Beispiel takes 5 mg"


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Embedder]:
    async with open_embedder(EmbedderSettings(), tmp_path) as embedder:
        assert embedder is not None
        yield embedder


def service(answer: Callable[[dict[str, Any]], httpx.Response], prompts: Prompts | None = None) -> RemoteEmbedder:
    def handle(request: httpx.Request) -> httpx.Response:
        return answer(json.loads(request.content))

    client = httpx.AsyncClient(base_url="http://127.0.0.1/v1", transport=httpx.MockTransport(handle))
    return RemoteEmbedder(client, model="m", dimensions=2, prompts=prompts or {})


def rows(*vectors: list[float]) -> httpx.Response:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return httpx.Response(200, json={"data": data[::-1], "usage": {"prompt_tokens": 7}})


async def test_what_means_the_same_lies_closer_than_what_does_not(local: Embedder) -> None:
    texts = ["The dose was doubled.", "They gave twice as much of the drug.", "The car park closes at nine."]
    embedded = await local.embed(texts, "plain")
    assert embedded.vectors.shape == (3, local.dimensions) == (3, 384)
    assert np.allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-5)
    near, far = embedded.vectors[0] @ embedded.vectors[1], embedded.vectors[0] @ embedded.vectors[2]
    assert near > far + 0.3


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentenceTransformer]:
    model = bundled_model()
    assert model is not None
    with closing(SentenceTransformer.load(str(model), tmp_path_factory.mktemp("hub"), "float32")) as embedder:
        yield embedder


@pytest.mark.parametrize("kind", KINDS)
async def test_a_vector_depends_on_its_text_and_not_on_what_is_embedded_beside_it(
    exact: SentenceTransformer, kind: TextKind
) -> None:
    texts = [f"{'word ' * (number % 7)}text {number}" for number in range(40)]
    together = await exact.embed(texts, kind)
    for number in (0, 13, 39):
        alone = await exact.embed([texts[number]], kind)
        assert np.allclose(together.vectors[number], alone.vectors[0], atol=1e-5)
    assert together.tokens > 40 * 4
    assert (await exact.embed([], kind)).vectors.shape == (0, 384)


async def test_vectors_in_half_precision_give_the_cosines_of_single_precision(
    exact: SentenceTransformer, tmp_path: Path
) -> None:
    texts = [f"{'The dose of apixaban was doubled. ' * (number % 5)}Ward {number}" for number in range(40)]
    with closing(SentenceTransformer.load(str(bundled_model()), tmp_path, "bfloat16")) as half:
        found, wanted = (await half.embed(texts, "plain")).vectors, (await exact.embed(texts, "plain")).vectors
        assert half.name == exact.name, "they can be compared"
    assert found.dtype == np.float32
    assert (found * wanted).sum(1).min() > 0.9995
    assert np.abs(found @ wanted.T - wanted @ wanted.T).max() < 0.005


@pytest.mark.parametrize("kind", KINDS)
async def test_a_text_that_is_too_long_is_refused_and_named_by_its_position(local: Embedder, kind: TextKind) -> None:
    with pytest.raises(TextTooLong) as refusal:
        await local.embed(["short", SECRET * 100], kind)
    assert (refusal.value.position, refusal.value.longest) == (1, 256)
    assert "Hildegard" not in str(refusal.value)


async def test_the_name_is_that_of_the_weights_and_not_of_their_folder(local: Embedder, tmp_path: Path) -> None:
    model = bundled_model()
    assert model is not None
    shutil.copytree(model, tmp_path / "copy")
    async with open_embedder(EmbedderSettings(embedder_model=str(tmp_path / "copy")), tmp_path) as copied:
        assert copied is not None
        assert copied.name == local.name


def test_loading_says_nothing_into_a_command_s_answer_or_a_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    SentenceTransformer.load(str(bundled_model()), tmp_path).close()
    assert capfd.readouterr() == ("", "")


Part = tuple[str, dict[str, Any], dict[str, Any]]
MEAN: Part = ("Pooling", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, {})


def model_of(folder: Path, *parts: Part) -> str:
    """The bundled transformer with these parts behind it: kind, settings and weights of each."""
    from safetensors.numpy import save_file

    folder.mkdir()
    for file in Path(str(bundled_model())).iterdir():
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            (folder / file.name).symlink_to(file)
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    for number, (kind, config, weights) in enumerate(parts):
        path = folder / f"part-{number}"
        path.mkdir()
        (path / "config.json").write_text(json.dumps(config))
        if weights:
            save_file(weights, path / "model.safetensors")
        modules.append({"type": f"sentence_transformers.models.{kind}", "path": path.name})
    (folder / "modules.json").write_text(json.dumps(modules))
    return str(folder)


async def test_layers_behind_the_pooling_are_computed(exact: SentenceTransformer, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    matrix, bias, gain, shift = (draw.normal(size=size).astype(np.float32) for size in ((8, 384), 8, 8, 8))
    config = {"in_features": 384, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}
    folder = model_of(
        tmp_path / "model",
        MEAN,
        ("Normalize", {}, {}),
        ("Dense", config, {"linear.weight": matrix, "linear.bias": bias}),
        ("Dropout", {"dropout": 0.5}, {}),
        ("LayerNorm", {"dimension": 8}, {"norm.weight": gain, "norm.bias": shift}),
    )
    texts = ["The dose was doubled.", "The car park closes at nine."]
    with closing(SentenceTransformer.load(folder, tmp_path, "float32")) as embedder:
        assert embedder.dimensions == 8
        assert embedder.name != exact.name, "its weights are others"
        found = (await embedder.embed(texts, "plain")).vectors
    dense = np.tanh((await exact.embed(texts, "plain")).vectors @ matrix.T + bias)
    spread = (dense - dense.mean(1, keepdims=True)) / dense.std(1, keepdims=True) * gain + shift
    assert np.allclose(found, spread / np.linalg.norm(spread, axis=1, keepdims=True), atol=1e-3)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("mean", [3.0, 4.0]),
        ("mean_sqrt_len_tokens", [9 / 3**0.5, 12 / 3**0.5]),
        ("weightedmean", [(1 + 2 * 3 + 3 * 5) / 6, (2 + 2 * 0 + 3 * 10) / 6]),
        ("max", [5.0, 10.0]),
        ("cls", [1.0, 2.0]),
        ("lasttoken", [5.0, 10.0]),
        (["cls", "max"], [1.0, 2.0, 5.0, 10.0]),
    ],
)
def test_tokens_are_pooled_as_the_model_says_on_whichever_side_its_texts_are_padded(
    mode: Any, expected: list[float], padding: str, tmp_path: Path
) -> None:
    import torch

    parts = ModelParts.of(Path(model_of(tmp_path / "model", ("Pooling", {"pooling_mode": mode}, {}))))
    tokens, mask = [[1.0, 2.0], [3.0, 0.0], [5.0, 10.0]], [1.0, 1.0, 1.0]
    pad = [[99.0, 99.0], [98.0, 98.0]]
    row, of_row = (tokens + pad, mask + [0.0] * 2) if padding == "right" else (pad + tokens, [0.0] * 2 + mask)
    [found] = parts.vectors(torch.tensor([row]), torch.tensor([of_row]).unsqueeze(-1))
    assert found.tolist() == pytest.approx(expected)
    assert parts.dimensions(2) == len(expected)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (("BoW", {}, {}),),
        (("Pooling", {}, {}),),
        (("Pooling", {"pooling_mode": "attention"}, {}),),
        (MEAN, ("LSTM", {}, {})),
        (MEAN, ("Dense", {"in_features": 384, "out_features": 8, "use_residual": True}, {})),
        (MEAN, ("Dense", {"in_features": 384, "out_features": 8, "activation_function": "os.system"}, {})),
    ],
)
async def test_a_model_with_parts_that_are_not_computed_here_is_refused(parts: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="SANO_EMBEDDER_URL"):
        async with open_embedder(EmbedderSettings(embedder_model=model_of(tmp_path / "model", *parts)), tmp_path):
            pass


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"num_hidden_layers": 7}, "some are missing"),
        ({"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}, "code of its own"),
    ],
)
def test_a_model_whose_weights_or_code_are_not_at_hand_is_refused(
    changed: Mapping[str, Any], why: str, tmp_path: Path
) -> None:
    folder = Path(model_of(tmp_path / "model", MEAN))
    (folder / "own.py").write_text("raise SystemExit('it was run')")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    with pytest.raises(Refused, match=why):
        SentenceTransformer.load(str(folder), tmp_path)


Configured = Mapping[str, Any]
PROMPTED: Configured = {"prompts": {"query": "search for: ", "passage": "read this: ", "s": "compare: "}}


def prompted_model(folder: Path, configured: Configured, pooling: Mapping[str, Any] | None = None) -> str:
    """A model that brings these prompts."""
    kind, config, weights = MEAN
    made = model_of(folder, (kind, {**config, **(pooling or {})}, weights))
    Path(made, "config_sentence_transformers.json").write_text(json.dumps(configured))
    return made


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({}, ("", "", "")),
        ({"prompts": None, "default_prompt_name": None}, ("", "", "")),
        (PROMPTED, ("search for: ", "read this: ", "")),
        ({"prompts": {"passage": "p", "document": "d", "corpus": "c"}}, ("", "d", "")),
        ({"prompts": {"corpus": "c", "passage": "p", "document": ""}}, ("", "p", "")),
        ({"prompts": {"query": None, "document": None, "corpus": "c"}}, ("", "c", "")),
        ({"prompts": {"s": "compare: "}, "default_prompt_name": "s"}, ("", "", "compare: ")),
        ({"prompts": {"query": "q"}, "default_prompt_name": "query"}, ("q", "", "q")),
        ({"default_prompt_name": "document"}, ("", "", "")),
    ],
)
def test_a_models_prompts_are_found_by_the_names_that_the_library_looks_for(
    configured: Configured, expected: tuple[str, ...]
) -> None:
    found = prompts_of(configured)
    assert tuple(found[kind] for kind in KINDS) == expected


async def test_each_text_stands_behind_the_models_prompt_for_its_kind(
    exact: SentenceTransformer, tmp_path: Path
) -> None:
    folder = prompted_model(tmp_path / "model", {**PROMPTED, "default_prompt_name": "s"})
    with closing(SentenceTransformer.load(folder, tmp_path, "float32")) as embedder:
        for kind, prompt in zip(KINDS, ("search for: ", "read this: ", "compare: "), strict=True):
            wanted = await exact.embed([prompt + "a dose", prompt + "the car park"], "plain")
            found = await embedder.embed(["a dose", "the car park"], kind)
            assert np.allclose(found.vectors, wanted.vectors, atol=1e-5)
            assert found.tokens == wanted.tokens, "the prompt's are read too"


async def test_a_prompt_that_a_model_does_not_pool_is_read_all_the_same(
    exact: SentenceTransformer, tmp_path: Path
) -> None:
    import torch

    folder = prompted_model(tmp_path / "model", PROMPTED, {"include_prompt": False})
    with closing(SentenceTransformer.load(folder, tmp_path, "float32")) as embedder:
        [query] = (await embedder.embed(["a dose"], "query")).vectors
        [plain] = (await embedder.embed(["a dose"], "plain")).vectors
    read = exact._tokenizer("search for: a dose", return_tensors="pt")
    begun_with = ["[CLS]", "search", "for", ":"]
    assert exact._tokenizer.convert_ids_to_tokens(read["input_ids"][0])[: len(begun_with)] == begun_with
    with torch.inference_mode():
        wanted = exact._model(**read).last_hidden_state[0, len(begun_with) :].mean(0).numpy()
    assert np.allclose(query, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert np.allclose(plain, (await exact.embed(["a dose"], "plain")).vectors[0], atol=1e-5)


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("mean", [4.0, 5.0]),
        ("mean_sqrt_len_tokens", [8 / 2**0.5, 10 / 2**0.5]),
        ("weightedmean", [(2 * 3 + 3 * 5) / 5, (2 * 0 + 3 * 10) / 5]),
        ("max", [5.0, 10.0]),
        ("cls", [3.0, 0.0]),
        ("lasttoken", [5.0, 10.0]),
    ],
)
def test_behind_a_prompt_that_is_not_pooled_tokens_keep_their_places(
    mode: str, expected: list[float], padding: str, tmp_path: Path
) -> None:
    import torch

    config = {"pooling_mode": mode, "include_prompt": False}
    parts = ModelParts.of(Path(model_of(tmp_path / "model", ("Pooling", config, {}))))
    tokens, mask = [[10.0, 20.0], [3.0, 0.0], [5.0, 10.0]], [1.0, 1.0, 1.0]
    pad = [[99.0, 99.0], [98.0, 98.0]]
    row, of_row = (tokens + pad, mask + [0.0] * 2) if padding == "right" else (pad + tokens, [0.0] * 2 + mask)
    [found] = parts.vectors(torch.tensor([row]), torch.tensor([of_row]).unsqueeze(-1), 1)
    assert found.tolist() == pytest.approx(expected)


async def test_a_prompt_counts_in_what_the_model_reads_of_a_text(tmp_path: Path) -> None:
    folder = prompted_model(tmp_path / "model", {"prompts": {"query": "word " * 250}})
    with closing(SentenceTransformer.load(folder, tmp_path, "float32")) as embedder:
        assert (await embedder.embed(["one two three four"], "query")).tokens == 256
        with pytest.raises(TextTooLong) as refusal:
            await embedder.embed(["one", "one two three four five"], "query")
        assert (refusal.value.position, refusal.value.longest) == (1, 256)


def test_a_model_that_does_not_bring_its_default_prompt_is_refused(tmp_path: Path) -> None:
    folder = prompted_model(tmp_path / "model", {"prompts": {"query": "q"}, "default_prompt_name": "nope"})
    with pytest.raises(Refused, match="prompt"):
        SentenceTransformer.load(folder, tmp_path)


async def test_prompts_that_are_set_take_the_place_of_a_models_own(exact: SentenceTransformer, tmp_path: Path) -> None:
    folder = prompted_model(tmp_path / "model", PROMPTED)
    settings = EmbedderSettings(embedder_model=folder, embedder_passage_prompt="kept so long: ")
    wanted = {"passage": "kept so long: a dose", "query": "search for: a dose"}
    async with open_embedder(settings, tmp_path) as embedder:
        assert embedder is not None
        found = {kind: (await embedder.embed(["a dose"], kind)).tokens for kind in KINDS[:2]}
    assert found == {kind: (await exact.embed([text], "plain")).tokens for kind, text in wanted.items()}


def test_the_name_tells_the_prompts_of_passages_and_plain_texts_and_not_of_queries(
    exact: SentenceTransformer, tmp_path: Path
) -> None:
    def named(number: int, configured: Configured, prompts: Prompts | None = None) -> str:
        folder = prompted_model(tmp_path / f"model-{number}", configured)
        with closing(SentenceTransformer.load(folder, tmp_path, "float32", prompts)) as embedder:
            return embedder.name

    assert named(0, {"prompts": {"query": "q", "passage": ""}}) == exact.name
    kept = named(1, {"prompts": {"passage": "p"}})
    assert named(2, {"prompts": {"document": "p", "query": "q"}}) == kept
    other = named(3, {"prompts": {"passage": "r"}})
    plain = named(4, {"prompts": {"query": "p"}, "default_prompt_name": "query"})
    assert len({exact.name, kept, other, plain}) == 4
    assert named(5, {"prompts": {"passage": "r"}}, {"passage": "p"}) == kept
    asked_with: list[Prompts] = [{}, {"query": "q"}, {"passage": "p"}]
    names = [service(lambda _: rows(), prompts).name for prompts in asked_with]
    assert names[0] == names[1] == "m/2"
    assert names[2].startswith("m/2/prompted-")


async def test_a_service_gets_each_text_behind_the_prompt_that_is_set_for_its_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at = {"URL": "http://127.0.0.1:9/v1", "MODEL": "m", "DIMENSIONS": "2"}
    for name, value in {**at, "QUERY_PROMPT": "query: ", "PASSAGE_PROMPT": "passage: "}.items():
        monkeypatch.setenv(f"SANO_EMBEDDER_{name}", value)
    asked: list[list[str]] = []

    def answer(body: dict[str, Any]) -> httpx.Response:
        asked.append(body["input"])
        return rows([1.0, 0.0])

    embedder = service(answer, loaded(EmbedderSettings).prompts())
    for kind in KINDS:
        await embedder.embed(["a dose"], kind)
    assert asked == [["query: a dose"], ["passage: a dose"], ["a dose"]]
    async with open_embedder(loaded(EmbedderSettings), tmp_path) as opened:
        assert opened is not None
        assert opened.name == embedder.name


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_is_asked_in_batches_and_its_vectors_are_put_in_order_and_scaled(kind: TextKind) -> None:
    asked: list[int] = []

    def answer(body: dict[str, Any]) -> httpx.Response:
        asked.append(len(body["input"]))
        assert (body["model"], body["encoding_format"]) == ("m", "float")
        return rows(*[[3.0, 4.0 * (text == "last")] for text in body["input"]])

    embedded = await service(answer).embed([*["text"] * 69, "last"], kind)
    assert (asked, embedded.tokens) == ([64, 6], 14)
    assert np.allclose(embedded.vectors[[0, -1]], np.array([[1, 0], [0.6, 0.8]]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(503), EmbedderUnavailable),
        (httpx.Response(429, text=SECRET), EmbedderUnavailable),
        (httpx.Response(401, text=SECRET), Refused),
        (httpx.Response(302, headers={"location": "http://elsewhere/"}), Refused),
        (httpx.Response(400, text="maximum context length"), TextTooLong),
        (httpx.Response(200, text=SECRET), Refused),
        (httpx.Response(200, json=[]), Refused),
        (rows([1.0, 2.0, 3.0]), Refused),
        (rows([1.0, 2.0], [1.0, 2.0]), Refused),
        (httpx.Response(200, text='{"data":[{"index":0,"embedding":[1,1e999]}]}'), Refused),
    ],
)
async def test_a_service_that_answers_otherwise_is_refused_or_tried_later(
    answer: httpx.Response, error: type[Exception], kind: TextKind
) -> None:
    with pytest.raises(error) as raised:
        await service(lambda _: answer).embed([SECRET], kind)
    assert "Hildegard" not in str(raised.value)


async def test_a_service_that_is_out_of_reach_is_tried_later() -> None:
    def unreachable(_: dict[str, Any]) -> httpx.Response:
        raise httpx.ConnectError(SECRET)

    with pytest.raises(EmbedderUnavailable) as raised:
        await service(unreachable).embed(["x"], "query")
    assert "Hildegard" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://embed.example/v1", True),
        ("http://127.0.0.1:9/v1", True),
        ("http://[::1]:9/v1", True),
        ("http://localhost:9/v1", True),
        ("http://embed.example/v1", False),
        ("http://127.0.0.1.example/v1", False),
    ],
)
def test_texts_are_sent_by_tls_or_stay_on_the_machine(
    url: str, is_taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"URL": url, "MODEL": "m", "DIMENSIONS": "2"}.items():
        monkeypatch.setenv(f"SANO_EMBEDDER_{name}", value)
    if is_taken:
        assert loaded(EmbedderSettings).embedder_url == url
        return
    with pytest.raises(Refused, match="https"):
        loaded(EmbedderSettings)


def test_a_service_needs_a_model_and_dimensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANO_EMBEDDER_URL", "https://embed.example")
    with pytest.raises(Refused, match="SANO_EMBEDDER_DIMENSIONS"):
        loaded(EmbedderSettings)


async def test_the_event_loop_goes_on_while_a_model_computes(local: Embedder) -> None:
    turns = 0
    done = asyncio.create_task(local.embed(["some words of a text " * 20] * 32, "passage"))
    while not done.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 5


async def test_a_model_computes_in_one_thread_so_that_no_others_wait_for_it_awake(exact: SentenceTransformer) -> None:
    import torch

    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(exact._thread, torch.get_num_threads) == 1
