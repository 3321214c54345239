"""Tests of the page's server without a browser: its responses, its refusals, and the end of abandoned decodings."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

testclient = pytest.importorskip("starlette.testclient", reason="needs the extra `page`")

from fairseq_mh import Translator  # noqa: E402
from fairseq_mh.cli.page import hosts_of  # noqa: E402
from fairseq_mh.errors import UserError  # noqa: E402
from fairseq_mh.page import events, limits  # noqa: E402
from fairseq_mh.page.jobs import FAILED, Jobs  # noqa: E402
from fairseq_mh.page.server import application, is_local  # noqa: E402
from fairseq_mh.translation.options.config import chains_of  # noqa: E402
from tests.cli.in_process import called  # noqa: E402

SOURCE = "a b c a"
HERE = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def translator(tiny):
    return Translator.load(tiny.folder, source_lang="de", target_lang="en")


@pytest.fixture(scope="module")
def client(translator):
    with testclient.TestClient(application(translator, "tiny", hosts_of("127.0.0.1")), base_url=HERE) as client:
        yield client


def post(client, path="/translate", **request):
    return client.post(path, json={"source": SOURCE, **request})


def events_of(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def message_of(answer) -> str:
    (event,) = answer.text.splitlines()
    assert json.loads(event)["kind"] == "error"
    return json.loads(event)["message"]


@pytest.mark.parametrize("decoding", ["mh", "gibbs"])
def test_a_translation_and_its_trace_are_those_of_the_translator(client, translator, decoding):
    received = events_of(post(client, decoding=decoding, sweeps=3, chains=2, lengths=2, seed=5, nbest=2))
    options = {"sweeps": 3, "chains": 2, "iter_decode_with_beam": 2, "seed": 5, "nbest": 2}
    (result,) = translator.decode([SOURCE], decoding=decoding, **options)
    *sweeps, done = received
    assert {event["kind"] for event in sweeps} == {"sweep"}
    assert len(sweeps) == len(result.trace)
    ends = {(r["length"], r["chain"], r["sweep"]): r for r in result.trace}
    assert {(r["length"], r["chain"], r["sweep"]): r for r in (event["record"] for event in sweeps)} == ends
    assert [found["text"] for found in done["translations"]] == [found.text for found in result.translations]
    assert [found["energy"] for found in done["translations"]] == [found.energy for found in result.translations]
    assert done["rows"] == result.rows
    for event in sweeps:
        assert len(event["pieces"]) == event["record"]["length"]


def test_the_passes_of_mask_predict_are_sent_with_its_energy(client, translator):
    *passes, last, done = events_of(post(client, decoding="mask-predict"))
    end = last["record"]
    assert {event["kind"] for event in passes} == {"pass"}
    assert all(passes[0]["masked"])
    assert not any(passes[-1]["masked"])
    assert done["translations"][0]["energy"] == end["energy"]
    assert done["translations"][0]["text"] == " ".join(text for text, _ in passes[-1]["pieces"])


def test_alternatives(client):
    found = events_of(post(client))[-1]["translations"][0]
    answer = post(client, "/alternatives", tokens=found["tokens"], position=0)
    listed = answer.json()["alternatives"]
    (same,) = [one for one in listed if one["token"] == found["tokens"][0]]
    assert same["energy"] == pytest.approx(found["energy"], rel=1e-4)
    assert same["text"] == found["text"]
    assert {one["piece"][0] for one in listed} == set("abc")
    for one in listed:  # a word is as likely in a translation as among its alternatives
        assert one["log_probs"][0] == pytest.approx(one["log_prob"], abs=1e-4)
    assert same["log_probs"] == pytest.approx(found["log_probs"], abs=1e-4)


def test_the_page_knows_its_model_and_the_values_of_presets(client, translator, tmp_path):
    about = client.get("/about").json()
    assert (about["model"], about["field"], about["examples"]) == ("tiny", "", [])
    values = limits.preset_values(["--cpu", "--mh-sweeps=4", "--seed", "9"])
    assert set(about["presets"]) == set(values) == set(limits.CHOICES["preset"])
    assert about["presets"]["best"]["lengths"] == values["best"]["lengths"] == 5
    assert (about["presets"]["paper"]["sweeps"], values["paper"]["sweeps"], values["paper"]["seed"]) == (33, 4, 9)
    for name, shown in about["presets"].items():  # what is shown is what an empty field gives
        cfg = translator._set({"preset": name}).cfg
        assert shown["sweeps"] == cfg.task.mh_sweeps
        assert shown["chains"] == chains_of(cfg.task)
        assert shown["lengths"] == cfg.generation.iter_decode_with_beam
        assert (shown["temperature"], shown["final_temperature"]) == (
            cfg.task.mh_temperature,
            cfg.task.mh_final_temperature,
        )
        assert shown["seed"] == cfg.common.seed
    (tmp_path / "page.json").write_text('{"field": "x", "examples": ["a", "b"]}', encoding="utf-8")
    assert limits.about_model(tmp_path) == {"field": "x", "examples": ["a", "b"]}
    for content in ("", "[]", '{"field": 3}', '{"examples": "a"}', '{"examples": [1]}'):
        (tmp_path / "page.json").write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"page\.json must be a JSON object"):
            limits.about_model(tmp_path)


@pytest.mark.parametrize("decoding", ["mh", "gibbs", "mask-predict"])
def test_held_positions_do_not_change(client, translator, decoding):
    tokens = translator.decode([SOURCE])[0].translations[0].tokens.tolist()
    word = translator.task.target_dictionary.index("b")
    tokens[1] = word
    *steps, done = events_of(post(client, decoding=decoding, tokens=tokens, held=[1], nbest=5))
    assert {event["record"]["tokens"][1] for event in steps if event["kind"] == "sweep"} == {word}
    assert {len(event["pieces"]) for event in steps} == {len(tokens)}
    assert {found["tokens"][1] for found in done["translations"]} == {word}
    (*_, done) = events_of(post(client, decoding=decoding, template="b {} c", nbest=5))
    assert {(found["text"][0], found["text"][-1]) for found in done["translations"]} == {("b", "c")}
    (*_, done) = events_of(post(client, decoding=decoding, phrases=["b c", "a"], nbest=5))
    assert all("b c" in found["text"] and "a" in found["text"] for found in done["translations"])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"source": ""}, "there is nothing to translate"),
        ({"source": " \n"}, "there is nothing to translate"),
        ({"source": "a" * 3000}, "the source has 3,000 characters; this page takes at most 1,000"),
        ({"source": "a \ud800"}, "lone surrogate"),
        ({"source": 3}, "not understood"),
        ({"sweeps": 101}, "sweeps must be from 0 to 100"),
        ({"sweeps": 2.5}, "sweeps must be a whole number"),
        ({"sweeps": True}, "sweeps must be a whole number"),
        ({"chains": 0}, "chains must be from 1 to 8"),
        ({"lengths": 6}, "lengths must be from 1 to 5"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"seed": -1}, "seed must be from 0 to 4294967295"),
        ({"decoding": "beam"}, "decoding must be one of mh, gibbs, mask-predict"),
        ({"preset": ["fast"]}, "preset must be one of"),
        ({"trace": "/tmp/x"}, "this page has no setting trace"),
        ({"path": "x"}, "this page has no setting path"),
        ({"template": 3}, "its template is not text"),
        ({"template": "a " * 900}, "the template has 1,800 characters"),
        ({"template": "a {999999999}"}, "blanks of more than 400 tokens"),
        ({"template": "zzz {}"}, "the model has no symbols for 'zzz'"),
        ({"phrases": "a"}, "its phrases are not a list of texts"),
        ({"phrases": [3]}, "its phrases are not a list of texts"),
        ({"phrases": ["a " * 300, "a " * 300]}, "the phrases have 1,201 characters"),
        ({"phrases": ["zzz"]}, "symbols that the model does not generate"),
        ({"phrases": ["a"], "template": "a {}"}, "phrases cannot be combined with a template"),
        ({"tokens": [4, 4], "held": [2]}, "the held positions must be positions"),
        ({"tokens": [4, 4], "held": [-1]}, "the held positions must be positions"),
        ({"tokens": [4, 4], "held": {}}, "the held positions must be positions"),
        ({"tokens": [4, 2_000_000], "held": [0]}, "a token that the model does not generate"),
        ({"tokens": [4] * 100, "held": [0]}, "this model's targets have 1 to"),
        ({"tokens": ["a"]}, "a list of at most 400"),
        ({"decoding": "mask-predict", "preset": "fast"}, "--mh-chains must be 1 with --mh-decoding mask-predict"),
        ({"source": "a " * 400}, "the source is not translated: too long: "),
    ],
)
def test_a_refusal_is_one_sentence(client, request_, message):
    # JSON in ASCII can hold a lone surrogate
    body = json.dumps({"source": SOURCE, **request_})
    answer = client.post("/translate", content=body, headers={"content-type": "application/json"})
    assert message in message_of(answer)


def test_infinite_numbers_are_refused(client):
    for value in ("NaN", "Infinity", "1e400"):
        body = f'{{"source": "a", "temperature": {value}}}'
        answer = client.post("/translate", content=body, headers={"content-type": "application/json"})
        assert "temperature must be from 0 to 100" in message_of(answer)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ("source=a", "application/x-www-form-urlencoded", "it must be JSON"),
        ('{"source": "a"}', "text/plain", "it must be JSON"),
        ("{", "application/json", "it is not JSON"),
        ("[1]", "application/json", "it is not a JSON object"),
        ("[" * 20_000, "application/json", "it is not JSON"),
        ("x" * 40_000, "application/json", "at most 32,768 bytes"),
    ],
)
def test_invalid_requests_are_refused(client, content, kind, message):
    answer = client.post("/translate", content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert message in message_of(answer)


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "/assets/page.js", "//etc/passwd", "/x"])
def test_only_the_files_of_the_page_are_served(client, path):
    assert client.get(path).status_code == 404


def test_every_response_forbids_outside_resources(client):
    for path in ("/", "/page.js", "/about", "/x"):
        answer = client.get(path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400
    assert client.get("/", headers={"host": "localhost:8765"}).status_code == 200


def test_an_error_of_the_server_is_reported_in_one_sentence(client, monkeypatch):
    def fail(*_, **__):
        raise KeyError("secret")

    monkeypatch.setattr(Translator, "watch", fail)
    monkeypatch.setattr(Translator, "alternatives", fail)
    assert message_of(post(client)) == FAILED
    with pytest.raises(KeyError):  # the test client raises an exception that a browser gets as a response
        post(client, "/alternatives", tokens=[4])


def test_the_number_of_requests_at_once_is_limited(client, monkeypatch):
    started, may_end = threading.Semaphore(0), threading.Event()

    def wait(translator, wanted):
        started.release()
        assert may_end.wait(60)
        yield {}

    monkeypatch.setattr(events, "decode", wait)
    threads = [threading.Thread(target=post, args=(client,)) for _ in range(limits.AT_ONCE)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert started.acquire(timeout=60)
    answer = post(client)
    assert answer.status_code == 503
    assert "4 requests already" in message_of(answer)
    may_end.set()
    for thread in threads:
        thread.join(60)
    monkeypatch.undo()
    assert events_of(post(client))[-1]["kind"] == "done"


def test_only_this_machine_by_default():
    assert all(map(is_local, ("127.0.0.1", "localhost", "::1")))
    assert not any(map(is_local, ("0.0.0.0", "192.168.1.2", "example.org", "::")))
    assert hosts_of("127.0.0.1") == ["127.0.0.1", "localhost", "127.0.0.1"]
    assert hosts_of("0.0.0.0") == ["*"]


def test_every_local_name_serves(translator):
    for host, name in (("::1", "[::1]:8765"), ("::1", "127.0.0.1"), ("localhost", "LOCALHOST"), ("0.0.0.0", "any")):
        client = testclient.TestClient(application(translator, "tiny", hosts_of(host)), base_url=HERE)
        assert client.get("/", headers={"host": name}).status_code == 200
    for name in ("elsewhere.example", "", "[", "127.0.0.1.example", "127.0.0.1@elsewhere.example"):
        client = testclient.TestClient(application(translator, "tiny", hosts_of("127.0.0.1")), base_url=HERE)
        assert client.get("/", headers={"host": name}).status_code == 400


def test_an_address_that_cannot_be_used_is_one_line(tiny):
    for options in (("--port", "70000"), ("--host", "nowhere.invalid"), ("--port", "x")):
        done = called("page", tiny.folder, *options)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_an_abandoned_decoding_stops():
    ended = threading.Event()

    def numbers():
        try:
            for number in range(10_000):
                yield {"number": number}
                time.sleep(0.01)
        finally:
            ended.set()

    async def listen():
        jobs = Jobs(1)
        lines = jobs.stream(numbers())
        assert json.loads(await anext(lines)) == {"number": 0}
        await lines.aclose()
        assert await asyncio.to_thread(ended.wait, 10)
        await asyncio.sleep(0.1)
        assert jobs.running == 0

    with ThreadPoolExecutor(1) as pool:  # a browser's event loop may run in this thread
        pool.submit(asyncio.run, listen()).result()
