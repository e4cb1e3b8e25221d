"""The steps of `make test-real`, in their order.

A bound is the most that a step may cost by what is published: fal may count 1024x1024 as two megapixels; a training may
cost ten times its page's price, since a recorded answer of the pricing endpoint says 0.02 USD a step; a second of sound
costs at most 0.50 USD an hour, since no source has the price of AssemblyAI's newest model.
"""

from decimal import Decimal

from contentgen_real.place import ASSEMBLYAI, BUCKET, CLUSTER, FAL, FAL_ADMIN
from contentgen_real.step import CheckStep
from contentgen_real.steps import assemblyai, cluster, fal, s3

_FREE = Decimal(0)

CHECKLIST = (
    CheckStep("prices", "unit and price of each model with facts; status of a list with an unknown model", _FREE,
              (FAL,), fal.prices),
    CheckStep(fal.PICTURES, "billed units and headers of 1024x1024 and 512x512 by flux schnell", Decimal("0.009"),
              (FAL,), fal.pictures),
    CheckStep("history", "input, tags, time and delay of the pictures' entries; search after a lost reply", _FREE,
              (FAL,), fal.history),
    CheckStep(fal.ODD, "status of an unknown sub-path and of an empty input, at the request and at the result",
              Decimal("0.005"), (FAL,), fal.odd_requests),
    CheckStep(fal.REFUSALS, "wrong key, unknown id, cancellation of a finished and of a queued request",
              Decimal("0.003"), (FAL,), fal.refusals),
    CheckStep(assemblyai.TRANSCRIPTS, "speech model with and without speech_models, Hungarian, a detected "
              "language, refused parameters, search after a lost reply", Decimal("0.009"), (ASSEMBLYAI,),
              assemblyai.transcripts),
    CheckStep(assemblyai.PRESIGNED, "transcript of a presigned URL; does the list show the URL's query",
              Decimal("0.002"), (ASSEMBLYAI, *BUCKET), assemblyai.presigned),
    CheckStep("bucket", "S3's requests that the product needs, presigned ones, the bucket's region", _FREE, BUCKET,
              s3.conformance),
    CheckStep("cluster", "a worker Job in a server-side dry run, and what the cluster changes in it", _FREE, (CLUSTER,),
              cluster.dry_run),
    CheckStep(s3.TRAINING, "LoRA training of 100 steps from a presigned archive, and a picture with its LoRA",
              Decimal("2.07"), (FAL, *BUCKET), s3.training),
    CheckStep("bills", "billing events of all requests: rows, endpoint ids, charges", _FREE, (FAL_ADMIN,),
              fal.bills, later=True),
)  # fmt: skip
