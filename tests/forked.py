"""Processes that begin at once: what takes seconds to import, one process has imported for all."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["likelihood_gan", "torch._dynamo"])  # Adam imports the second
