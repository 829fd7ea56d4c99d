"""What one delivery costs: our HttpSender beside stock httpx and plain aiohttp, against a receiver on loopback.

    python benchmarks/delivery.py [--rounds 5] [--requests 600] [--in-flight 64]

The receiver runs in a process of its own. The three clients take turns in one run, the order rotating, so that a busy
machine is unfair to all of them alike. Reported is the median over the rounds: CPU time of this process (client only)
and requests a second.
"""

import argparse
import asyncio
import gc
import itertools
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from ipaddress import ip_network

import aiohttp
import httpx

from actionmap.catalog.models.integration import Integration
from actionmap.deliver.credentials import environment_secrets
from actionmap.deliver.egress import EgressGuard
from actionmap.deliver.http import HttpSender
from actionmap.delivery import Delivery

BODY = '{"lead":{"email":"a@b.example","score":10,"campaign":"spring","note":"' + "x" * 200 + '"}}'
HEADERS = {"Content-Type": "application/json"}

RECEIVER = """
import asyncio, sys
from aiohttp import web

async def main():
    async def receive(request):
        await request.read()
        return web.json_response({"ok": True})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)   # until the benchmark ends, however it ends
    await runner.cleanup()

asyncio.run(main())
"""


async def ours(stack, url):
    secrets = environment_secrets({"ACTIONMAP_SECRET_KEY": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    guard = EgressGuard((), [ip_network("127.0.0.0/8")])
    sender = await stack.enter_async_context(HttpSender(guard, secrets, clock=lambda: time.time_ns() // 1_000_000))
    integration = Integration.model_validate(
        {"name": "crm", "baseUrl": url, "signing": {"scheme": "standardWebhooks", "secret": "${ACTIONMAP_SECRET_KEY}"}}
    )

    async def send(number):
        owed = Delivery(
            id=f"am1_{number:032}", integration="crm", webhook="w", action_map="m", visitor_id="v", event_id="e", at=1,
            owed_at=1, method="POST", target="/leads", headers=HEADERS, body=BODY, timeout_s=30,
        )  # fmt: skip
        attempt = await sender.send(owed, integration)
        assert attempt.outcome == "delivered", attempt

    return send


async def stock_httpx(stack, url):
    client = await stack.enter_async_context(
        httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
    )

    async def send(number):
        headers = HEADERS | {"Idempotency-Key": f"am1_{number:032}"}
        response = await client.post(f"{url}/leads", content=BODY.encode(), headers=headers)
        assert response.status_code == 200

    return send


async def plain_aiohttp(stack, url):
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))

    async def send(number):
        headers = HEADERS | {"Idempotency-Key": f"am1_{number:032}"}
        async with session.post(f"{url}/leads", data=BODY.encode(), headers=headers) as response:
            await response.read()
            assert response.status == 200

    return send


CLIENTS = {"actionmap HttpSender": ours, "stock httpx": stock_httpx, "plain aiohttp": plain_aiohttp}


async def one_round(send, requests, in_flight):
    """CPU microseconds a request and requests a second."""
    numbers = iter(range(requests))

    async def work():
        for number in numbers:
            await send(number)

    gc.collect()
    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return (time.process_time() - cpu) / requests * 1e6, requests / (time.perf_counter() - started)


async def measure(url, args):
    results = {name: [] for name in CLIENTS}
    async with AsyncExitStack() as stack:
        senders = {name: await client(stack, url) for name, client in CLIENTS.items()}
        for send in senders.values():
            await one_round(send, args.in_flight * 2, args.in_flight)  # connections, caches
        names = itertools.cycle(CLIENTS)
        for _ in range(args.rounds):
            for name in itertools.islice(names, len(CLIENTS)):
                results[name].append(await one_round(senders[name], args.requests, args.in_flight))
            next(names)  # another one begins the next round
    return results


def show(results, args):
    print(
        f"{args.rounds} rounds of {args.requests} requests, {args.in_flight} in flight, Python {sys.version.split()[0]}"
    )
    print(f"{'client':<22} {'CPU µs/request':>15} {'requests/s':>11} {'CPU, ours = 1':>14}")
    medians = {
        name: (statistics.median(cpu for cpu, _ in rounds), statistics.median(rate for _, rate in rounds))
        for name, rounds in results.items()
    }
    own = medians["actionmap HttpSender"][0]
    for name, (cpu, rate) in medians.items():
        print(f"{name:<22} {cpu:>15.0f} {rate:>11.0f} {cpu / own:>14.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--in-flight", type=int, default=64)
    args = parser.parse_args()
    receiver = subprocess.Popen(
        [sys.executable, "-c", RECEIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(receiver.stdout.readline())
        show(asyncio.run(measure(f"http://127.0.0.1:{port}", args)), args)
    finally:
        receiver.stdin.close()
        receiver.wait(10)


if __name__ == "__main__":
    main()
