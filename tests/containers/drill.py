#!/usr/bin/env python3
"""Runs a sweep in containers twice, undisturbed and under faults, and compares. `run.sh` calls it.

The faults: a worker is killed (SIGKILL) and started again, another is cut off the network for longer than the lease
time-out, and the coordinator is killed and comes back under another address. Each must have been felt: the journal tells.
"""

import argparse
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import time

LEASE_TIMEOUT = 10
# Of a whole sweep, on two slow cores.
PATIENCE = 900


class Stack:
    """The containers of one compose project."""

    def __init__(self, compose, data):
        self.project = f"distilsweep-test-{secrets.token_hex(4)}"
        self.command = ["docker", "compose", "--file", compose, "--project-name", self.project]
        self.environment = os.environ | {
            "DISTILSWEEP_CLIENT_TOKEN": secrets.token_hex(32),
            "DISTILSWEEP_WORKER_TOKEN": secrets.token_hex(32),
            "DISTILSWEEP_DATA": data,
            "DISTILSWEEP_THREADS": "1",
            "DISTILSWEEP_LEASE_TIMEOUT": str(LEASE_TIMEOUT),
            "DISTILSWEEP_CHECKPOINT_INTERVAL": "5",
            # Free ones.
            "COORDINATOR_PORT": "0",
            "MLFLOW_PORT": "0",
        }

    def compose(self, *arguments, check=True):
        command = [*self.command, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise SystemExit(f"error: {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}{done.stdout}")
        return done

    def client(self, *arguments):
        return self.compose("run", "--rm", "--no-TTY", "client", *arguments).stdout

    def verified(self, sweep):
        """What the coordinator's record and MLflow have in common; they must not differ."""
        verify = ["/usr/bin/distilsweep", "mlflow", "verify", sweep, "--state", "/state", "--mlflow", "http://mlflow:5000"]
        return self.compose("exec", "--no-TTY", "coordinator", *verify).stdout.strip()

    def containers(self, service):
        return self.compose("ps", "--all", "--quiet", service).stdout.split()

    def ranking(self, sweep):
        return json.loads(self.client("results", sweep, "--format", "json"))

    def events(self, sweep):
        lines = self.client("sweep", "events", sweep, "--json").splitlines()
        return [json.loads(line) for line in lines]


def docker(*arguments):
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def until(what, seconds, condition):
    """Waits until `condition` answers something true, and answers that."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"error: no {what} within {seconds} s")
        time.sleep(1)


def hardened(container):
    """Asserts that a container can do what it must and no more."""
    facts = json.loads(docker("inspect", container))[0]
    image = facts["Config"]["Image"]
    assert facts["Config"]["User"] == "65532:65532", facts["Config"]["User"]
    assert facts["HostConfig"]["ReadonlyRootfs"] and facts["HostConfig"]["CapDrop"] == ["ALL"], image
    for shell in ("/bin/sh", "/bin/bash", "/usr/bin/python3", "/usr/bin/dpkg"):
        started = subprocess.run(
            ["docker", "run", "--rm", "--entrypoint", shell, image], capture_output=True, text=True, check=False
        )
        assert started.returncode == 127 and "no such file" in started.stderr, (image, shell, started)


def address(container):
    return docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)


def healthy(container):
    return docker("inspect", "-f", "{{.State.Health.Status}}", container) == "healthy"


def submit(stack):
    sweep = stack.client("sweep", "submit", "--new", "sentiment.yaml").split()[0].rstrip(":")
    print(f"{sweep} is handed in")
    return sweep


def completed(stack, sweep):
    def ended():
        ranking = stack.ranking(sweep)
        return ranking if ranking["state"] != "running" else None

    ranking = until("end of the sweep", PATIENCE, ended)
    assert ranking["state"] == "completed", ranking
    assert len(ranking["trials"]) == ranking["total"] == 4, ranking
    assert all(trial["state"] == "completed" for trial in ranking["trials"]), ranking
    print(f"{sweep} is complete after {ranking['seconds']:.0f} s")
    return ranking


def metrics(ranking):
    return {trial["trial"]: trial["metrics"] for trial in ranking["trials"]}


def training(stack, sweep):
    """The trials under way, by worker's hostname, which is the start of its container's id."""
    found = {}
    for trial in stack.ranking(sweep)["trials"]:
        if trial["state"] == "running" and trial["worker"]:
            found[trial["worker"].split("-")[0]] = trial["trial"]
    return found


def kill_a_worker(stack, sweep):
    worker, trial = next(iter(until("trial under way", 120, lambda: training(stack, sweep)).items()))
    docker("kill", "--signal", "KILL", worker)
    print(f"killed worker {worker}, which trained trial {trial}")
    until("second attempt", 300, lambda: attempts(stack, sweep, trial) > 1)
    docker("start", worker)
    return worker


def cut_a_worker_off(stack, sweep, but):
    def other():
        return next((found for found in training(stack, sweep).items() if found[0] != but), None)

    worker, trial = until("trial under way elsewhere", 300, other)
    before = attempts(stack, sweep, trial)
    network = f"{stack.project}_default"
    docker("network", "disconnect", network, worker)
    print(f"cut worker {worker} off, which trains trial {trial}")
    until("further attempt", 300, lambda: attempts(stack, sweep, trial) > before)
    docker("network", "connect", network, worker)
    return worker


def move_the_coordinator(stack):
    """Kills it, and starts it under another address: engines give out the next one, or the lowest that is free."""
    (coordinator,) = stack.containers("coordinator")
    before, image = address(coordinator), docker("inspect", "-f", "{{.Config.Image}}", coordinator)
    docker("kill", "--signal", "KILL", coordinator)
    network = f"{stack.project}_default"
    squatter = docker("run", "--detach", "--network", network, image, "serve")
    try:
        docker("start", coordinator)
        until("coordinator", 60, lambda: healthy(coordinator))
        after = address(coordinator)
        assert after != before, after
    finally:
        docker("rm", "--force", "--volumes", squatter)
    print(f"the coordinator has moved from {before} to {after}")


def attempts(stack, sweep, trial):
    found = [row["attempts"] for row in stack.ranking(sweep)["trials"] if row["trial"] == trial]
    return found[0] if found else 0


def drill(stack):
    stack.compose("up", "--detach", "--no-build")
    services = [*stack.containers("coordinator"), *stack.containers("worker")]
    assert len(services) == 3, services
    for container in services:
        until("healthy container", 120, lambda container=container: healthy(container))
        hardened(container)
    print("coordinator and two workers are healthy, without a shell, a root or a file system to write to")

    undisturbed = completed(stack, submit(stack))
    assert all(trial["attempts"] == 1 for trial in undisturbed["trials"]), undisturbed

    sweep = submit(stack)
    killed = kill_a_worker(stack, sweep)
    cut = cut_a_worker_off(stack, sweep, but=killed)
    until("trial under way", 120, lambda: training(stack, sweep))
    move_the_coordinator(stack)
    ranking = completed(stack, sweep)

    ends = [event for event in stack.events(sweep) if (event["detail"] or "").startswith("worker_lost")]
    lost = {event["worker"].split("-")[0] for event in ends}
    assert {killed, cut} <= lost, (killed, cut, ends)
    assert metrics(ranking) == metrics(undisturbed), (ranking, undisturbed)
    for each in (undisturbed["sweep"], sweep):
        until("complete MLflow", 120, lambda each=each: stack.ranking(each)["mlflow"]["messages_waiting"] == 0)
        print(stack.verified(each))
    print("4 of 4 results, once each and equal to the last digit, with a worker killed, one cut off, the coordinator moved")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compose", required=True)
    parser.add_argument("--sample", required=True, type=pathlib.Path)
    parser.add_argument("--sweep", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distilsweep-containers-") as directory:
        data = pathlib.Path(directory)
        # For the user of the containers.
        data.chmod(0o755)
        shutil.copytree(arguments.sample, data / "sample")
        text = arguments.sweep.read_text().replace("../../.distilsweep/sample/", "sample/")
        (data / "sentiment.yaml").write_text(text)
        stack = Stack(arguments.compose, directory)
        try:
            drill(stack)
        except BaseException:
            print(stack.compose("logs", "--no-color", "--tail", "40", check=False).stdout, file=sys.stderr)
            raise
        finally:
            stack.compose("--profile", "*", "down", "--volumes", "--timeout", "20", check=False)


if __name__ == "__main__":
    main()
