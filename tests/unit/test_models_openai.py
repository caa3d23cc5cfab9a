"""The openai adapter against a server of this test's own, most of whose answers are trouble."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from pydantic import ValidationError

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.openai_api import OpenAIAdapter, OpenAIParams
from kdbench.models.protocols import Continuation, Prompt
from kdbench.models.tokens import TextEncoder

Answer = tuple[int, Any, dict[str, str]]


class FakeServer:
    """Answers through `reply(path, body)`; remembers requests and how many were under way at once."""

    def __init__(self) -> None:
        self.reply: Callable[[str, dict[str, Any]], Answer] = lambda *_: ok(completion("hi"))
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self.url = ""
        self._now = 0
        self._lock = threading.Lock()

    def handle(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        with self._lock:
            self.asked.append((path, body))
            self.headers.append(headers)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            return self.reply(path, body)
        finally:
            with self._lock:
                self._now -= 1


def ok(body: Any) -> Answer:
    return 200, body, {}


def completion(text: str, finish: str = "stop", count: int = 1, **choice: Any) -> dict[str, Any]:
    return {
        "choices": [{"text": text, "finish_reason": finish, **choice}],
        "usage": {"completion_tokens": count},
    }


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: dict[str, Any]) -> None:
            status, answer, more = fake.handle(self.path, body, dict(self.headers))
            sent = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(sent)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(sent)
            except BrokenPipeError:
                self.close_connection = True

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    fake.url = f"http://127.0.0.1:{listener.server_port}/v1"
    yield fake
    listener.shutdown()
    listener.server_close()


def _adapter(
    server: FakeServer | None = None, folder: Path = Path(), **params: Any
) -> OpenAIAdapter:
    settings: dict[str, Any] = {"base_url": server.url if server else "http://localhost:1/v1"}
    settings |= {"model": "m", "backoff": 0.01, "retries": 2, "timeout": 5.0, **params}
    return OpenAIAdapter(OpenAIParams(**settings), folder, LoadSettings())


def _scripted(server: FakeServer, *answers: Answer) -> None:
    """These answers in turn, the last one for ever."""
    rest = list(answers)

    def reply(path: str, body: dict[str, Any]) -> Answer:
        return rest.pop(0) if len(rest) > 1 else rest[0]

    server.reply = reply


PROMPT = Prompt("Say hi", ("\n",), 8)


def test_a_completion_is_asked_for_as_the_prompt_says(server: FakeServer) -> None:
    (answer,) = _adapter(server).load().generate_text([PROMPT])
    assert (answer.text, answer.tokens, answer.finish) == ("hi", 1, "stop")
    assert server.asked == [
        ("/v1/completions",
         {"model": "m", "max_tokens": 8, "temperature": 0.0, "prompt": "Say hi", "stop": ["\n"]})
    ]  # fmt: skip


def test_a_chat_is_one_user_message(server: FakeServer) -> None:
    server.reply = lambda *_: ok(
        {
            "choices": [{"message": {"content": "hello\nyou"}, "finish_reason": "length"}],
            "usage": {"completion_tokens": 3},
        }
    )
    model = _adapter(server, api="chat", max_tokens_key="max_completion_tokens").load()
    (answer,) = model.generate_text([PROMPT])
    assert (answer.text, answer.tokens, answer.finish) == ("hello", 3, "stop")
    path, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert body["messages"] == [{"role": "user", "content": "Say hi"}]
    assert body["max_completion_tokens"] == 8
    assert "prompt" not in body


def test_stop_strings_beyond_the_servers_limit_are_cut_here(server: FakeServer) -> None:
    server.reply = lambda *_: ok(completion("one;two", "length", 5))
    prompt = Prompt("x", ("\n", "a", "b", "c", ";"), 8)
    (answer,) = _adapter(server).load().generate_text([prompt])
    assert (answer.text, answer.finish) == ("one", "stop")
    assert server.asked[0][1]["stop"] == ["\n", "a", "b", "c"]


def test_sampling_sends_the_samples_own_seed(server: FakeServer) -> None:
    server.reply = lambda path, _: ok(completion("x") if "completions" in path else {})
    prompts = [Prompt("x", (), 8, temperature=0.7, top_p=0.9, seed=2**62 + seed) for seed in (3, 4)]
    _adapter(server, concurrency=1).load().generate_text(prompts)
    bodies = [body for path, body in server.asked if path == "/v1/completions"]
    assert [body["seed"] for body in bodies] == [3, 4]
    assert bodies[0]["top_p"] == 0.9
    assert "top_k" not in bodies[0]


def test_llama_cpp_is_told_to_leave_its_own_cuts_out(server: FakeServer) -> None:
    props = {"default_generation_settings": {"n_ctx": 64}}
    server.reply = lambda path, _: ok(props if path == "/props" else completion("x"))
    _adapter(server).load().generate_text([Prompt("x", (), 8, temperature=0.7)])
    body = server.asked[-1][1]
    assert (body["top_k"], body["min_p"], body["typical_p"]) == (0, 0.0, 1.0)


def test_unknown_options_are_refused_before_anything_is_sent(server: FakeServer) -> None:
    with pytest.raises(ModelError, match="no generation option repetition_penalty"):
        _adapter(server).load().generate_text(
            [Prompt("x", (), 8, options={"repetition_penalty": 2})]
        )
    assert server.asked == []


def test_answers_come_in_the_prompts_order_several_at_once(server: FakeServer) -> None:
    def reply(path: str, body: dict[str, Any]) -> Answer:
        time.sleep(0.05 if body["prompt"] == "0" else 0.01)
        return ok(completion(body["prompt"]))

    server.reply = reply
    prompts = [Prompt(str(index), (), 8) for index in range(12)]
    answers = _adapter(server, concurrency=3).load().generate_text(prompts)
    assert [answer.text for answer in answers] == [prompt.text for prompt in prompts]
    assert 2 <= server.most_at_once <= 3


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_passing_trouble_is_waited_out(server: FakeServer, status: int) -> None:
    _scripted(server, (status, {"error": "busy"}, {}), ok(completion("hi")))
    assert _adapter(server).load().generate_text([PROMPT])[0].text == "hi"
    assert len(server.asked) == 2


def test_the_wait_that_the_server_asks_for_is_kept(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("kdbench.models.api_client.time.sleep", waits.append)
    _scripted(
        server,
        (429, {}, {"Retry-After": "7"}),
        (429, {}, {"Retry-After": "9999"}),
        (429, {}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        ok(completion("hi")),
    )
    _adapter(server, retries=3).load().generate_text([PROMPT])
    assert waits[:2] == [7.0, 60.0]
    assert 0 < waits[2] <= 0.04


def test_lasting_trouble_is_an_error_that_names_the_last_answer(server: FakeServer) -> None:
    _scripted(server, (500, {"error": "no memory left"}, {}))
    with pytest.raises(ModelError, match=r"gave up after 3 tries; .*HTTP 500: .*no memory left"):
        _adapter(server).load().generate_text([PROMPT])
    assert len(server.asked) == 3


def test_a_server_that_is_not_there_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ModelError, match=r"127.0.0.1:9.*gave up after 3 tries.*server runs"):
        _adapter(base_url="http://127.0.0.1:9/v1").load().generate_text([PROMPT])


def test_an_answer_that_takes_too_long_is_an_error(server: FakeServer) -> None:
    def slow(path: str, body: dict[str, Any]) -> Answer:
        time.sleep(0.4)
        return ok(completion("late"))

    server.reply = slow
    with pytest.raises(ModelError, match=r"gave up after 2 tries.*no answer within 0.1 s"):
        _adapter(server, timeout=0.1, retries=1).load().generate_text([PROMPT])


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(400, "refuses the request"), (401, "api_key_env"), (404, "base_url")],
)
def test_a_refusal_is_not_repeated(server: FakeServer, status: int, remedy: str) -> None:
    _scripted(server, (status, {"error": "no"}, {}))
    with pytest.raises(ModelError, match=f"HTTP {status}.*{remedy}"):
        _adapter(server).load().generate_text([PROMPT])
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>proxy</html>", "not JSON: '<html>proxy</html>'"),
        ([1, 2], "expected a JSON object"),
        ({"choices": []}, "an answer without a text"),
        ({"choices": [{"message": {}}]}, "an answer without a text"),
        ({"choices": [{"text": "hi", "finish_reason": "stop"}]}, "usage.completion_tokens"),
    ],
)
def test_nonsense_is_an_error_that_shows_it(server: FakeServer, answer: Any, message: str) -> None:
    _scripted(server, ok(answer))
    with pytest.raises(ModelError, match=message):
        _adapter(server).load().generate_text([PROMPT])


def test_the_key_is_sent_and_never_shown(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret-value")
    _scripted(server, (403, {"error": "key s3cret-value is not welcome"}, {}))
    adapter = _adapter(server, api_key_env="MY_KEY")
    with pytest.raises(ModelError, match=r"key \*\*\* is not welcome") as caught:
        adapter.load().generate_text([PROMPT])
    assert "s3cret" not in str(caught.value)
    assert server.headers[0]["Authorization"] == "Bearer s3cret-value"
    assert "s3cret" not in json.dumps(adapter.fingerprint())


def test_a_key_that_is_not_set_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ModelError, match="environment variable MY_KEY, and it is not set"):
        _adapter(api_key_env="MY_KEY").check()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "is no address"),
        ("ftp://host/v1", "is no address"),
        ("http://me:secret@host/v1", "user name or password"),
    ],
)
def test_an_address_that_cannot_work_is_refused_before_the_run(url: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        _adapter(base_url=url).check()
    assert "secret" not in str(caught.value)


def test_unknown_keys_and_values_are_suite_errors() -> None:
    for wrong in ({"api": "telepathy"}, {"concurrency": 0}, {"key": "x"}):
        with pytest.raises(ValidationError):
            OpenAIParams(base_url="http://x", model="m", **wrong)


def test_verbs_are_known_without_asking_the_server(tmp_path: Path) -> None:
    tiny_models.save_tokenizer(tmp_path / "words")
    tiny_models.save_tokenizer(tmp_path / "bare", template=None)
    scores = {"score_text", "score_rolling"}
    assert _adapter().verbs() == {"generate_text", "stream_text"} | scores
    assert _adapter(scores="none").verbs() == {"generate_text", "stream_text"}
    assert _adapter(api="chat").verbs() == {"generate_text", "stream_text"}
    with_words = _adapter(folder=tmp_path, tokenizer="words")
    assert with_words.verbs() == {"generate_text", "stream_text", "chat_template"} | scores
    assert (
        _adapter(folder=tmp_path, tokenizer="bare").verbs()
        == {"generate_text", "stream_text"} | scores
    )
    with pytest.raises(ModelError, match="no such folder"):
        _adapter(folder=tmp_path, tokenizer="wordz").check()


def test_what_the_user_vouches_for_identifies_the_model_instead_of_the_address() -> None:
    plain = _adapter().fingerprint()
    assert plain["server"] == "http://localhost:1/v1"
    assert _adapter(base_url="http://localhost:2/v1").fingerprint() != plain
    vouched = _adapter(revision="sha 1234").fingerprint()
    assert _adapter(base_url="http://other:2/v1", revision="sha 1234").fingerprint() == vouched
    assert _adapter(revision="sha 9").fingerprint() != vouched
    for change in ({"model": "n"}, {"api": "chat"}, {"scores": "echo"}, {"max_length": 9}):
        assert _adapter(**change).fingerprint() != plain
    assert _adapter(concurrency=9, timeout=1, retries=0).fingerprint() == plain


def test_a_tokenizer_is_part_of_the_fingerprint_once_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tiny_models.save_tokenizer(tmp_path / "words")
    with_words = _adapter(folder=tmp_path, tokenizer="words")
    assert with_words.fingerprint() != _adapter().fingerprint()
    assert with_words.tokenizer_fingerprint() is not None
    assert _adapter().tokenizer_fingerprint() is None
    remote = _adapter(tokenizer="hf:org/words")
    remote.check()
    assert [download.what for download in remote.downloads()] == ["hf:org/words@main"]
    with pytest.raises(ModelError, match="not in the hub cache"):
        remote.fingerprint()


# Scores


def _logprobs(tokens: list[str], logprobs: list[float | None], best: list[float]) -> dict[str, Any]:
    tops = [None if lp is None else {"?": top, t: lp} for t, lp, top in
            zip(tokens, logprobs, best, strict=True)]  # fmt: skip
    return {"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": tops}


def _echo(server: FakeServer, logprobs: Any, prompted: int | None = None) -> None:
    def reply(path: str, body: dict[str, Any]) -> Answer:
        if path != "/v1/completions":
            return 404, {}, {}
        usage = {"completion_tokens": 1} | ({"prompt_tokens": prompted} if prompted else {})
        return ok({"choices": [{"text": "", "logprobs": logprobs}], "usage": usage})

    server.reply = reply


def test_echoed_log_probabilities_are_split_where_the_text_is(server: FakeServer) -> None:
    tokens = ["The", " sky", " is", " blue", "."]
    _echo(server, _logprobs(tokens, [None, -1, -2, -3, -9], [-1, -1, -0.5, -3, -1]))
    model = _adapter(server).load()
    (score,) = model.score_text([Continuation("The sky ", "is blue")])
    assert (score.logprob, score.greedy, score.tokens) == (-5.0, False, 2)
    (greedy,) = model.score_text([Continuation("The sky is", " blue")])
    assert (greedy.logprob, greedy.greedy, greedy.tokens) == (-3.0, True, 1)
    assert server.asked[-1][1] == {
        "model": "m", "prompt": "The sky is blue", "max_tokens": 1, "temperature": 0,
        "logprobs": 1, "echo": True,
    }  # fmt: skip


def test_a_beginning_of_text_token_that_the_server_adds_is_not_scored(server: FakeServer) -> None:
    _echo(server, _logprobs(["<s>", "The", " sky", "!"], [None, -1, -2, -9], [0, -1, -1, -1]))
    model = _adapter(server).load()
    (score,) = model.score_text([Continuation("", "The sky")])
    assert (score.logprob, score.tokens) == (-3.0, 2)
    (whole,) = model.score_rolling(["The sky"])
    assert (whole.logprob, whole.greedy, whole.tokens) == (-3.0, False, 2)


def test_an_answer_that_ends_without_a_new_token_keeps_its_last_one(server: FakeServer) -> None:
    _echo(server, _logprobs(["The", " sky"], [None, -2], [0, -2]), prompted=2)
    (score,) = _adapter(server).load().score_text([Continuation("The", " sky")])
    assert (score.logprob, score.tokens) == (-2.0, 1)


@pytest.mark.parametrize(
    ("logprobs", "message"),
    [
        (None, "no log-probabilities of prompts"),
        ({"content": []}, "no log-probabilities of prompts"),
        (_logprobs(["!"], [-1], [-1]), "no log-probabilities of prompts"),
        (_logprobs(["T", "he", " sky", "!"], [None, -1, -1, -1], [0] * 4), None),
        (_logprobs(["The s", "ky", "!"], [None, -1, -1], [0] * 3), "lies across the end"),
        (_logprobs(["Thé", " sky", "!"], [None, -1, -1], [0] * 3), "don't spell the prompt"),
        ({"tokens": ["The", " sky", "!"], "token_logprobs": [None, -1, -1],
          "top_logprobs": [None, None, None]}, "no log-probabilities of prompts"),
    ],
)  # fmt: skip
def test_an_echo_that_cannot_be_used_is_refused(
    server: FakeServer, logprobs: Any, message: str | None
) -> None:
    _echo(server, logprobs)
    model = _adapter(server).load()
    if message is None:
        assert model.score_text([Continuation("The", " sky")])[0].logprob == -1
        return
    with pytest.raises(ModelError, match=message):
        model.score_text([Continuation("The", " sky")])


def test_a_text_without_context_needs_a_token_before_it(server: FakeServer) -> None:
    _echo(server, _logprobs(["The", " sky", "!"], [None, -1, -1], [0] * 3))
    with pytest.raises(ModelError, match="no log-probability for the first token of a text"):
        _adapter(server).load().score_rolling(["The sky"])


def test_with_a_tokenizer_prompts_go_out_as_token_ids(server: FakeServer, tmp_path: Path) -> None:
    tokenizer = tiny_models.save_tokenizer(tmp_path / "words")

    def reply(path: str, body: dict[str, Any]) -> Answer:
        if path != "/v1/completions":
            return 404, {}, {}
        count = len(body["prompt"]) + 1
        logprobs = [None, *(-float(token) for token in body["prompt"][1:]), -1.0]
        return ok({"choices": [{"logprobs": _logprobs(["t"] * count, logprobs, [-1e9] * count)}]})

    server.reply = reply
    model = _adapter(server, tmp_path, tokenizer="words", max_length=20).load()
    requests = [Continuation("the quick", " brown"), Continuation("", "a dog")]
    rows = TextEncoder(tokenizer, 18).continuations(requests)
    for score, row in zip(model.score_text(requests), rows, strict=True):
        assert score.logprob == -float(sum(row.tokens[-row.scored :]))
        assert (score.greedy, score.tokens) == (True, row.scored)
    text = "the lazy dog " * 12
    (whole,) = model.score_rolling([text])
    assert whole.logprob == -float(sum(tokenizer.encode(text)))
    assert max(len(body["prompt"]) for _, body in server.asked if body) <= 19
    assert (
        model.apply_chat_template([{"role": "user", "content": "x"}]) == "<user>x<eot><assistant>"
    )


def test_a_server_that_adds_tokens_to_token_ids_is_refused(
    server: FakeServer, tmp_path: Path
) -> None:
    tiny_models.save_tokenizer(tmp_path / "words")
    _echo(server, _logprobs(["t"] * 30, [None, *[-1.0] * 29], [0.0] * 30), prompted=29)
    with pytest.raises(ModelError, match="adds tokens of its own"):
        _adapter(server, tmp_path, tokenizer="words").load().score_text(
            [Continuation("the", " dog")]
        )


def _llama_cpp(server: FakeServer, step: Callable[[dict[str, Any]], Any]) -> None:
    """Letters are tokens; `step` answers /completion."""
    pages: dict[str, Callable[[dict[str, Any]], Any]] = {
        "/props": lambda _: {
            "default_generation_settings": {"n_ctx": 12}, "bos_token": "^", "eos_token": "$"},
        "/tokenize": lambda body: {"tokens": [ord(letter) for letter in body["content"]]},
        "/detokenize": lambda body: {"content": "".join(map(chr, body["tokens"]))},
        "/completion": step,
    }  # fmt: skip
    server.reply = lambda path, body: ok(pages[path](body))


def _step(body: dict[str, Any]) -> Any:
    ((token, _),) = body["logit_bias"]
    return {
        "completion_probabilities": [
            {"id": token, "logprob": -token / 10, "top_logprobs": [{"logprob": -9.8}]}
        ]
    }


def test_llama_cpp_is_asked_for_one_forced_token_at_a_time(server: FakeServer) -> None:
    _llama_cpp(server, _step)
    model = _adapter(server, concurrency=1).load()
    (score,) = model.score_text([Continuation("ab", "cb")])
    assert (score.logprob, score.greedy, score.tokens) == (pytest.approx(-19.7), False, 2)
    steps = [body for path, body in server.asked if path == "/completion"]
    assert [(body["prompt"], body["logit_bias"][0][0]) for body in steps] == [
        ([97, 98], 99),
        ([97, 98, 99], 98),
    ]
    (greedy,) = model.score_text([Continuation("", "b")])
    assert (greedy.greedy, greedy.tokens) == (True, 1)
    assert server.asked[-1][1]["prompt"] == [ord("^")]


def test_a_token_that_llama_cpp_keeps_silent_about_is_looked_up_among_all(
    server: FakeServer,
) -> None:
    def step(body: dict[str, Any]) -> Any:
        ((token, _),) = body["logit_bias"]
        if token == ord("b"):
            return {"content": "half a character"}
        if body["n_probs"] == 1:
            return _step(body)
        tops = [{"id": 7, "logprob": -0.5}, {"id": ord("b"), "logprob": -3.0}]
        return {"completion_probabilities": [{"id": token, "logprob": -9, "top_logprobs": tops}]}

    _llama_cpp(server, step)
    (score,) = _adapter(server, concurrency=1).load().score_text([Continuation("a", "cb")])
    assert score.logprob == pytest.approx(-9.9 - 3.0)
    assert not score.greedy
    assert server.asked[-1][1]["logit_bias"][0][0] == ord("^")


def test_llama_cpp_scores_long_texts_in_windows_of_its_context(server: FakeServer) -> None:
    _llama_cpp(server, _step)
    (score,) = _adapter(server).load().score_rolling(["b" * 30])
    assert score.tokens == 30
    assert score.logprob == pytest.approx(-9.8 * 30)
    assert max(len(body.get("prompt", [])) for _, body in server.asked) == 11


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"content": "x"}, "does not report log-probabilities"),
        ({"completion_probabilities": [{"content": "x", "probs": []}]}, "does not report"),
        ({"completion_probabilities": [{"id": 5, "logprob": -1, "top_logprobs": [{"logprob": -1}]}]},
         "could not be made to take token"),
    ],
)  # fmt: skip
def test_a_llama_cpp_that_cannot_score_is_refused(
    server: FakeServer, answer: Any, message: str
) -> None:
    _llama_cpp(server, lambda _: answer)
    with pytest.raises(ModelError, match=message):
        _adapter(server).load().score_text([Continuation("a", "b")])


def test_asking_for_llama_cpp_where_there_is_none_is_an_error(server: FakeServer) -> None:
    server.reply = lambda *_: (404, {}, {})
    with pytest.raises(ModelError, match=r"no llama.cpp server answers at /props"):
        _adapter(server, scores="llama.cpp").load().score_text([Continuation("a", "b")])


def test_empty_texts_cost_no_request(server: FakeServer) -> None:
    server.reply = lambda *_: (404, {}, {})
    (score,) = _adapter(server, scores="echo").load().score_text([Continuation("a", "")])
    assert (score.logprob, score.greedy, score.tokens) == (0.0, True, 0)
    assert server.asked == []
