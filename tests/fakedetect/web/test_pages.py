"""What pages say and to whom, without workers: signing in, errors, values of the templates, the reference of the API."""

import asyncio
import random
import re
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from fakedetect.web import views
from fakedetect.web.app import create_app
from fakedetect.web.cards import as_html, inline
from fakedetect.web.pool import Pool
from fakedetect.web.process import Ticket
from fakedetect.web.reference import operations
from fakedetect.web.settings import ServeSettings
from fakedetect.web.tasks import failed_row
from tests.fakedetect.web.offered import OFFERED

WRITER, READER = "a-token-of-at-least-twenty-characters", "another-token-of-twenty-characters"
HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A function: the pages of a server whose workers never judge anything."""

    async def start(self):
        self.detectors = OFFERED

    monkeypatch.setattr(Pool, "start", start)
    running = []

    def served(**changes) -> TestClient:
        client = TestClient(create_app(ServeSettings(tmp_path / "data", **changes)), "http://127.0.0.1")
        client.follow_redirects = False
        running.append(client.__enter__())
        return running[-1]

    yield served
    for one in running:
        one.__exit__(None, None, None)


@pytest.fixture
def guarded(serve, tmp_path):
    (tmp_path / "tokens").write_text(f"ann {WRITER}\nann {READER} read-only\n")
    return serve(token_file=tmp_path / "tokens")


def post(client: TestClient, name: str = "a.png"):
    return client.post("/", files={"files": (name, b"bytes")}, headers=HTML)


def test_pages_ask_who_is_not_signed_in_for_a_token(guarded):
    answer = guarded.get("/jobs/abc", headers=HTML)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/jobs/abc")
    assert guarded.get("/jobs/abc", headers={"accept": "*/*"}).headers["content-type"] == "application/problem+json"
    assert 'name="token"' in guarded.get("/login", headers=HTML).text
    assert post(guarded).headers["location"] == "/login"
    wrong = guarded.post("/login", data={"token": "wrong", "next": "/jobs"}, headers=HTML)
    assert wrong.status_code == 401 and "not known" in wrong.text and "set-cookie" not in wrong.headers
    right = guarded.post("/login", data={"token": f" {WRITER} ", "next": "/jobs"}, headers=HTML)
    assert (right.status_code, right.headers["location"]) == (303, "/jobs")
    assert 'id="upload"' in guarded.get("/", headers=HTML).text
    guarded.post("/logout")
    assert guarded.get("/", headers=HTML).status_code == 303


@pytest.mark.parametrize(
    "after", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\nb", "/\t/e"]
)
def test_signing_in_never_leads_to_another_server(guarded, after):
    answer = guarded.post("/login", data={"token": WRITER, "next": after}, headers=HTML)
    assert answer.headers["location"] == "/"


def test_a_read_only_token_sees_no_form(guarded):
    guarded.post("/login", data={"token": WRITER}, headers=HTML)
    job = post(guarded).headers["location"]
    guarded.post("/login", data={"token": READER}, headers=HTML)
    assert guarded.get(job, headers=HTML).status_code == 200, "but the jobs of its name"
    assert len(guarded.get("/v1/jobs").json()["jobs"]) == 1
    assert guarded.post(f"{job}/delete", headers=HTML).status_code == 403
    page = guarded.get("/", headers=HTML).text
    assert 'id="upload"' not in page and "read-only" in page
    assert post(guarded).status_code == 403
    assert guarded.post("/jobs/delete", headers=HTML).status_code == 403


def test_without_tokens_there_is_nothing_to_sign_in(serve):
    client = serve()
    assert client.get("/login").headers["location"] == "/"
    assert "Sign out" not in client.get("/").text


def test_an_upload_leads_to_its_job_which_only_its_browser_sees(serve):
    client = serve()
    client.get("/")
    job = post(client, "<b>.png").headers["location"]
    page = client.get(job).text
    assert re.fullmatch(r"/jobs/[\w-]{20,}", job) and "&lt;b&gt;.png" in page and "<b>.png" not in page
    assert '<noscript><meta http-equiv="refresh"' in page
    assert client.get(f"{job}/files/0").text.strip().startswith("<article")
    assert client.get(f"{job}/files/1").status_code == 404
    assert "0 of 1 file done" in client.get(f"{job}/summary").text
    assert job in client.get("/jobs").text
    client.cookies.clear()
    for path in (job, f"{job}/files/0", f"{job}/summary"):
        assert client.get(path, headers=HTML).status_code == 404
    assert client.post(f"{job}/delete").status_code == 404
    assert job not in client.get("/jobs").text


def test_clients_without_a_name_have_no_history(serve):
    client = serve()
    job = client.post("/v1/jobs", files={"files": ("a.png", b"x")}).json()["id"]
    assert client.get(f"/jobs/{job}").status_code == 200
    client.cookies.clear()
    assert job not in client.get("/jobs").text


def test_a_link_from_another_site_keeps_the_browsers_name(serve):
    cookie = serve().get("/").headers["set-cookie"]
    assert "SameSite=lax" in cookie and "HttpOnly" in cookie


def test_errors_are_pages_for_browsers_and_problems_for_programs(serve):
    client = serve()
    page = client.get("/jobs/none", headers=HTML)
    assert page.status_code == 404 and "There is no such job" in page.text and "<nav" in page.text
    assert client.get("/jobs/none").json()["status"] == 404
    assert client.get("/nowhere", headers=HTML).headers["content-type"].startswith("text/html")
    refused = client.post("/", headers={**HTML, "origin": "http://evil.example"}, files={"files": ("a.png", b"x")})
    assert refused.status_code == 403 and "<nav" in refused.text
    foreign = client.get("/", headers={**HTML, "host": "evil.example"})
    assert foreign.status_code == 421 and "Use the address" in foreign.text and "script-src" in str(foreign.headers)
    assert client.get("/", headers={"host": "evil.example"}).json()["status"] == 421


def test_one_who_sends_too_much_gets_a_page(serve):
    client = serve(max_per_minute=1)
    client.get("/")
    assert post(client).status_code == 303
    again = post(client)
    assert again.status_code == 429 and "Wait a little" in again.text and int(again.headers["retry-after"]) >= 1


def test_an_upload_without_a_file_is_refused_in_words_for_people(serve):
    client = serve()
    empty = {"files": ("", b"")}
    assert "No file was chosen" in client.post("/", files=empty, headers=HTML).text
    assert "in the field" in client.post("/v1/jobs", files={"other": (None, "x")}).json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/v1/nowhere", 404, "There is nothing at /v1/nowhere; /docs lists what there is."),
        ("PUT", "/v1/jobs", 405, "PUT is not possible here; expected "),
        ("GET", "/v1/jobs/x/files/one/heat.jpg", 422, "place cannot be used: Input should be a valid integer"),
        (
            "GET",
            "/v1/jobs/x/result?format=xml",
            422,
            "format cannot be used: Input should be 'json', 'jsonl' or 'csv'.",
        ),
    ],
)
def test_a_problem_says_what_to_change(serve, method, path, status, detail):
    answer = serve().request(method, path)
    assert answer.status_code == status and answer.json()["detail"].startswith(detail)


def test_a_defect_is_answered_without_its_details(serve, monkeypatch):
    client = serve()
    monkeypatch.setattr(views, "job_view", lambda job, keep_h: 1 / 0)
    client.get("/")
    post(client)
    quiet = TestClient(client.app, "http://127.0.0.1", raise_server_exceptions=False, cookies=client.cookies)
    answer = quiet.get("/jobs", headers=HTML)
    assert answer.status_code == 500 and "division" not in answer.text and "its log has the details" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_no_page_needs_what_the_content_policy_forbids(serve):
    client = serve()
    job = post(client).headers["location"]
    for path in ("/", job, "/jobs", "/detectors", "/docs", "/nowhere"):
        answer = client.get(path, headers=HTML)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(
            r"\sstyle=|<style|\son\w+=|<script(?![^>]* src=\"/static/)|(?:src|href)=\"http", answer.text
        )


def test_static_files_are_those_of_the_package_alone(serve):
    client = serve()
    style = client.get("/static/page.css")
    assert style.headers["content-type"].startswith("text/css") and "immutable" in style.headers["cache-control"]
    for path in ("/static/nothing.css", "/static/..%2fpages.py", "/static/%2e%2e/pages.py"):
        assert client.get(path).status_code == 404


def test_the_reference_names_every_route_with_an_example(serve):
    client = serve()
    document = client.get("/openapi.json").json()
    routes = operations(document)
    assert len(routes) == sum(len(methods) for methods in document["paths"].values()) >= 12
    assert len({one["id"] for one in routes}) == len(routes)
    score = next(one for one in routes if one["path"] == "/v1/score")
    assert {one["name"]: one["kind"] for one in score["fields"]}["files"] == "one or more: file"
    assert score["curl"].startswith("curl -F files=@photo.jpg") and score["curl"].endswith("SERVER/v1/score")
    answers = {one["status"]: one["example"] for one in score["answers"]}
    assert '"p_fake"' in answers["200"] and '"detail"' in answers["413"]
    page = client.get("/docs").text
    assert all(f'id="{one["id"]}"' in page for one in routes) and "HTTPValidationError" not in page


VALUES = (
    "",
    "0",
    "-1",
    "1e9",
    "99999999999999999999",
    "true",
    "json",
    "x" * 300,
    "..",
    "%2e%2e%2f",
    "%00",
    "é\u2028",
    "'\";<b>",
)


def fuzzed(chance: random.Random, parameters: list[dict], fields: list[str], job: str) -> dict:
    """Arguments of a request to an operation, half of them wrong in some way."""

    def value() -> str:
        return chance.choice([*VALUES, job, job, "0", "0"])

    given: dict = {"params": {}, "headers": {}, "path": {}}
    for one in parameters:
        if one["in"] == "path" or chance.random() < 0.5:
            text = value() or "x"
            where = {"path": "path", "query": "params", "header": "headers"}[one["in"]]
            given[where][one["name"]] = quote(text, safe="%") if one["in"] != "query" else text
    if fields:
        body = chance.choice(["form", "form", "form", "bytes", "nothing"])
        if body == "form":
            given["data"] = {name: value() for name in fields if chance.random() < 0.3}
            files = [
                (chance.choice([*fields, "other"]), (value(), chance.randbytes(chance.choice([0, 9]))))
                for _ in range(3)
            ]
            given["files"] = files[: chance.randint(0, 3)] or None
        elif body == "bytes":
            given["content"] = chance.randbytes(300)
            given["headers"]["content-type"] = chance.choice(["multipart/form-data; boundary=x", "application/json"])
    return given


def test_the_api_answers_as_its_document_says_whatever_is_sent(serve, monkeypatch):
    """A fuzz of every operation of /openapi.json: no error of the server, no status or type that the document lacks."""

    async def submit(self, task, on_start=None, on_progress=None, room=None) -> Ticket:
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(failed_row(task.name, "nobody judges here"))
        return Ticket(task, task.to_json(), answer)

    async def make(self, *words, **asked) -> str:
        return "nobody makes it here"

    monkeypatch.setattr(Pool, "submit", submit)
    monkeypatch.setattr(Pool, "make", make)
    client, chance, seen = serve(max_files=2), random.Random(0), set()
    document = client.get("/openapi.json").json()
    job = client.post("/v1/jobs", files={"files": ("a.png", b"x")}).json()["id"]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data", {})
            for _ in range(40 if form else 12):
                given = fuzzed(
                    chance, operation.get("parameters", []), list(form.get("schema", {}).get("properties", {})), job
                )
                if method == "delete" and given["path"]["name"] == job:
                    continue
                answer = client.request(method, path.format(**given.pop("path")), **given)
                documented = operation["responses"].get(str(answer.status_code))
                kind = answer.headers.get("content-type", "").partition(";")[0]
                seen.add((path, answer.status_code))
                if answer.is_redirect and documented is None:
                    continue  # to the same path with or without a slash at its end
                if documented is None:
                    # A value with a slash, or an empty one, makes another path, which the document does not have.
                    assert answer.status_code in (404, 405) and kind == "application/problem+json", (
                        answer.url,
                        answer.text,
                    )
                elif documented.get("content"):
                    assert kind in documented["content"], (answer.url, kind)
    assert {("/v1/score", 200), ("/v1/score", 413), ("/v1/jobs", 202), ("/v1/jobs/{name}", 200)} <= seen


def test_model_cards_become_html_without_their_own():
    html = as_html("# title\n\n## Figures\n\n<script>x</script> `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert "title" not in html and "<h4>Figures</h4>" in html and "<script>" not in html
    assert '<div class="scroll" tabindex="0"' in html and "<td>2</td>" in html
    assert inline("`a` <b>") == "<code>a</code> &lt;b&gt;"
