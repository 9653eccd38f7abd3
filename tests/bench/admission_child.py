"""The least an aiohttp server can do for a review: read it, decode it, answer. What the webhook is measured beside.

python -m tests.bench.admission_child CERTIFICATE KEY        prints its port; ends when its input does
"""

import asyncio
import json
import ssl
import sys

from aiohttp import web


async def admit(request: web.Request) -> web.Response:
    asked = json.loads(await request.read())
    response = {"uid": asked["request"]["uid"], "allowed": True}
    return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})


async def main(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    app = web.Application()
    app.router.add_post("/admit", admit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
