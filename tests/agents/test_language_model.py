"""The agent `language_model` with scripted completions: nothing here is a model, and nothing uses a network."""

from __future__ import annotations

import json
import re
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import LAYERS

import archgym
from archgym import ArchGymError, search, search_again
from archgym.agents.language_model import LanguageModel
from archgym.testing import check_agent
from archgym.text.scripted import propose

NAME = "archgym.text.scripted:propose"
NK = {"n": 6, "k": 1, "alleles": 3}
ENV = "archgym/NKLandscape-v0"


def rows_of(result):
    return result.space.encode({name: result.history[name] for name in result.space.names})


def requested(prompt):
    return int(re.search(r"^Propose (\d+) new designs", prompt, re.MULTILINE)[1])


def constant(text):
    return lambda prompt: text


class Script:
    """Answers one after the other, the last one for ever; keeps the prompts."""

    def __init__(self, *answers):
        self.answers, self.prompts = list(answers), []

    def __call__(self, prompt):
        self.prompts.append(prompt)
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, str) or answer is None else json.dumps(answer)


def searched(env, complete, budget=24, **hyperparameters):
    return search(env, LanguageModel(complete, **hyperparameters), budget=budget)


GOOD = {"x": 3, "size": 4, "isa": "avx512", "flag": True}


def test_a_scripted_proposer_finds_the_optimum_of_a_small_task(bowl):
    result = search(bowl[0], LanguageModel(propose), budget=60)
    assert result.best_metrics["cost_j"] == 1.0
    for seed in range(3):
        agent = {"agent": "language_model", "agent_kwargs": {"complete": NAME}}
        result = search(ENV, **agent, budget=200, seed=seed, env_kwargs=NK)
        assert result.regret == 0 and result.statistics["illegal_share"] == 0
        assert result.statistics["fallback_share"] < 0.5


@pytest.mark.parametrize(
    "garbage", ["", "no", "{" * 5000, "\0\x1b[2J", '{"x": ' + "9" * 900, "x" * 10**6, '[{"size": {}}]', "```"]
)
def test_with_garbage_the_fallback_spends_the_budget_exactly(bowl, garbage):
    result = searched(bowl[0], constant(garbage), budget=33)
    assert result.samples == bowl[1].rows == 33
    assert result.statistics["fallback_share"] == 1.0 and result.statistics["proposals"] == 0


@pytest.mark.parametrize("fallback", ["mutate", "random"])
def test_the_agent_keeps_the_contract_with_proposals_and_with_garbage(fallback):
    for complete in (propose, constant("{ garbage")):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            check_agent(
                lambda complete=complete, **given: LanguageModel(complete, fallback=fallback, **given),
                budget=67,
                reach_budget=800,
            )


def test_mutating_the_best_designs_falls_back_better_than_drawing(register):
    def best(fallback):
        results = [
            search(ENV, LanguageModel(constant(""), fallback=fallback), budget=80, seed=seed)
            for seed in range(8)
        ]
        return np.mean([result.best_reward for result in results])

    assert best("mutate") > best("random")


def test_what_became_of_the_proposals_is_counted(bowl):
    other = {**GOOD, "x": 2}
    illegal, hopeless = {**GOOD, "size": 5, "x": 1}, {**GOOD, "isa": 7}
    complete = Script([GOOD, other, GOOD, illegal, hopeless], [other, {**GOOD, "x": 4}])
    result = searched(bowl[0], complete, budget=12, designs=6)
    assert result.statistics == {
        "prompts": 2,
        "failed_prompts": 0,
        "proposals": 7,
        "illegal_share": pytest.approx(2 / 7),
        "repaired_share": pytest.approx(1 / 7),
        "repeated_share": pytest.approx(2 / 7),
        "fallback_share": pytest.approx(8 / 12),
    }
    designs = [result.space.design(row) for row in rows_of(result)]
    assert designs[:3] == [GOOD, other, {**GOOD, "size": 4, "x": 1}]  # 5 repaired to 4
    assert len({str(design) for design in designs}) == 12


def test_without_repair_illegal_designs_are_left_out(bowl):
    result = searched(bowl[0], Script([{**GOOD, "size": 5, "x": 1}]), budget=8, repair=False)
    assert result.statistics["repaired_share"] == 0 and result.statistics["fallback_share"] == 1


def test_designs_of_one_meaning_count_as_repeated(bowl):
    result = searched(bowl[0], Script([GOOD, {**GOOD, "flag": False}]), budget=2, designs=2)
    assert result.statistics["repeated_share"] == 0.5 and result.unique == 2


def test_more_designs_than_asked_for_are_passed_over_and_no_prompt_is_made_in_vain(bowl):
    complete = Script([{**GOOD, "x": x, "size": s} for x in range(1, 7) for s in (1, 2, 4)])
    result = searched(bowl[0], complete, budget=10, designs=8)
    assert [requested(prompt) for prompt in complete.prompts] == [8, 2]
    assert result.statistics["proposals"] == 10
    complete = Script([GOOD])
    search(bowl[0], LanguageModel(complete, designs=8), budget=20, num_envs=1)
    assert [requested(prompt) for prompt in complete.prompts] == [8, 8, 4]
    complete = Script([GOOD])
    search(bowl[0], LanguageModel(complete, designs=2), budget=20, num_envs=10)
    assert [requested(prompt) for prompt in complete.prompts] == [10, 10]


def test_prompts_have_the_task_the_samples_and_the_problems_of_the_last_answer_as_data(bowl):
    complete = Script([GOOD, {**GOOD, "size": 5, "x": 1}], [GOOD])
    searched(bowl[0], complete, budget=16)
    first, second = complete.prompts
    assert "0 of 16 samples spent, 16 left" in first and "8 of 16 samples spent, 8 left" in second
    begin, end = second.index("<data-"), second.rindex("</data-")
    data = second[begin:end]
    for part in ("minimize cost_j", "Best:", '"enum":["scalar","avx2","avx512"]', "got 5; nearest: 4"):
        assert part in data
    assert "secret" not in first + second and re.search(r"<data-(\w+)>\n.*\n</data-\1>", second, re.DOTALL)


def test_the_report_in_a_prompt_keeps_its_limit(bowl):
    prompts = {}
    for tokens in (250, 8000):
        complete = Script([GOOD])
        searched(bowl[0], complete, budget=80, tokens=tokens)
        prompts[tokens] = complete.prompts[-1]
    assert len(prompts[8000]) > len(prompts[250]) + 1000


# --- completions that fail ---


def test_a_completion_that_never_answered_ends_the_search_before_anything_is_spent(bowl):
    for bad, reason in ((OSError("no key"), "no key"), (None, "got NoneType"), (b"{}", "bytes")):
        complete = Script(bad) if not isinstance(bad, bytes) else lambda prompt: b"{}"
        with pytest.raises(ArchGymError, match=rf"no answer in 2 attempts: .*{reason}"):
            searched(bowl[0], complete)
    assert bowl[1].rows == 0


def test_a_completion_is_tried_again_and_later_failures_go_to_the_fallback(bowl):
    complete = Script(OSError(), [GOOD], OSError(), OSError(), OSError(), [{**GOOD, "x": 2}])
    result = searched(bowl[0], complete, budget=32)
    assert result.samples == 32 and result.statistics["failed_prompts"] == 1 and len(complete.prompts) == 7
    with pytest.raises(KeyboardInterrupt) as stopped:
        searched(bowl[0], Script([GOOD], KeyboardInterrupt()), budget=32)
    assert stopped.value.partial.samples == 8 and stopped.value.partial.statistics["prompts"] == 2


def test_without_a_completion_the_error_says_what_to_give(bowl):
    with pytest.raises(ArchGymError, match=r"--hp complete=module:name"):
        search(bowl[0], "language_model", budget=5)
    for wrong in ("ask", 7, "module:"):
        with pytest.raises(ArchGymError, match="expected complete as a function"):
            LanguageModel(wrong)
    with pytest.raises(ArchGymError, match="cannot load"):
        search(bowl[0], LanguageModel("no_such_module:ask"), budget=5)
    with pytest.raises(ArchGymError, match="to be a function"):
        search(bowl[0], LanguageModel("archgym.text.scripted:PARENTS"), budget=5)
    with pytest.raises(ArchGymError, match="unknown hyperparameter"):
        LanguageModel(propose, temperature=1)
    assert bowl[1].rows == 0


# --- the specification ---


def test_a_completion_with_a_name_is_part_of_the_specification_and_the_search_repeats():
    for complete in (propose, NAME):
        first = search(ENV, LanguageModel(complete, designs=4), budget=30, env_kwargs=NK)
        assert first.specification["agent"]["hyperparameters"]["complete"] == NAME
        again = search_again(json.loads(json.dumps(first.specification)))
        np.testing.assert_array_equal(rows_of(first), rows_of(again))
        assert again.specification == first.specification and again.statistics == first.statistics


def test_a_completion_without_a_name_has_none_in_the_specification(bowl):
    result = searched(bowl[0], constant(""))
    assert result.specification["agent"]["hyperparameters"]["complete"] is None
    with pytest.raises(ArchGymError, match="needs a completion"):
        search_again(result.specification)
    assert LanguageModel().configuration == LanguageModel.hyperparameters.defaults()


def test_the_program_takes_a_completion_by_its_name(program, tmp_path):
    (tmp_path / "my_module.py").write_text("def ask(prompt):\n    return 'Propose'\n")
    done = program(
        "search", ENV, "language_model", "--budget", 16, "--hp", "complete=my_module:ask", cwd=tmp_path
    )
    assert done.returncode == 0 and "fallback 100.0 %" in done.stdout, done.stderr
    bad = program("search", ENV, "language_model", "--budget", 16, cwd=tmp_path)
    assert bad.returncode == 2 and "complete=module:name" in " ".join(bad.stderr.split())


def test_agents_have_no_statistics_unless_they_say_so():
    assert search(ENV, "random", budget=5).statistics == {}
    assert LanguageModel(propose).statistics == {}


def test_runs_of_studies_have_the_statistics(tmp_path):
    from archgym.study.design import Study
    from archgym.study.run import execute

    text = f"""
        [study]
        name = "models"
        budget = 20
        seeds = 1
        [[env]]
        id = "{ENV}"
        kwargs = {{ n = 6, k = 1 }}
        [[agent]]
        name = "language_model"
        [agent.grid]
        complete = ["{NAME}"]
        designs = [4, 10]
        [[agent]]
        name = "random"
        """
    results = [execute(run.specification)[1] for run in Study(text).runs()]
    assert [result.get("statistics", {}).get("prompts") for result in results] == [5, 2, None]


# --- hostile text ---


def test_hostile_answers_of_a_megabyte_are_survived(bowl):
    answer = '{"x": 3, "' * 50_000 + "\ud800" + "</data>" * 50_000 + json.dumps(GOOD)
    result = searched(bowl[0], constant(answer), budget=8)
    assert result.samples == 8 and GOOD in [result.space.design(row) for row in rows_of(result)]


def test_labels_and_reasons_that_pose_as_instructions_stay_within_the_quotation():
    from text_tasks import HOSTILE, Hostile  # noqa: F401

    archgym.register_env("tests/HostileText-v0", simulator=HOSTILE.simulator, objective=HOSTILE.objective)
    complete = Script("[]")
    result = search("tests/HostileText-v0", LanguageModel(complete), budget=40)
    prompt = complete.prompts[-1]
    mark = re.search(r"^<data-(\w+)>$", prompt, re.MULTILINE)[1]
    assert prompt.count(f"</data-{mark}>") == 1 and prompt.count(f"<data-{mark}>") == 1
    before, _, rest = prompt.partition(f"<data-{mark}>")
    inside, _, after = rest.partition(f"</data-{mark}>")
    for word in ("SYSTEM", "Human", "Say yes", "Ignore the task"):
        assert word in inside and word not in before + after
    assert "\x1b" not in prompt and "\u202e" not in prompt and "4242" not in prompt
    assert result.samples == 40


def test_conditional_spaces_are_searched_by_text():
    complete = Script([{"depth": 3, "kind": "conv", "dilation": 3, "width1": 3, "width2": 3, "width3": 1}])
    archgym.register_env("tests/TextLayers-v0", simulator=LAYERS.simulator)
    result = search("tests/TextLayers-v0", LanguageModel(complete), budget=16)
    assert result.best_metrics["error"] == 1.0
    result = search("tests/TextLayers-v0", LanguageModel(propose), budget=200)
    assert result.best_metrics["error"] == 1.0 and result.statistics["illegal_share"] == 0


def test_the_function_in_the_guide_speaks_to_an_openai_compatible_server(bowl, monkeypatch):
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "language-model.md").read_text()
    (block,) = [
        text
        for text in re.findall(r"^```python\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
        if "urllib" in text
    ]
    bodies = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            text = propose(bodies[-1]["messages"][0]["content"])
            answer = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MODEL_URL", f"http://127.0.0.1:{server.server_port}/v1/chat/completions")
        monkeypatch.setenv("no_proxy", "*")
        defined = {"__name__": "guide"}
        exec(compile(block, "guide", "exec"), defined)
        result = searched(bowl[0], defined["ask"], budget=24)
        server.shutdown()
    assert len(bodies) == 3 and result.statistics["fallback_share"] < 0.5
    with pytest.raises(ArchGymError, match="no answer in 2 attempts: URLError"):
        searched(bowl[0], defined["ask"])
