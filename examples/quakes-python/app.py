"""Watches earthquakes: keeps the largest of each network, raises an alert for the strong ones, and counts them all.

The same job as ../quakes-rust, written against the plain WIT, without an SDK.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Failure_Reject, Failure_Retry, Retry
from wit_world.imports import pubsub, store
from wit_world.imports.keyvalue import Bucket
from wit_world.imports.types import Error_Conflict

# The least magnitude for an alert, unless the host's `config` sets another `threshold`.
THRESHOLD = 4.5


class Handler(exports.Handler):
    """What the host calls. The name is the interface's."""

    def handle(self, msg, delivery):
        try:
            event = read(msg.payload)
        except (ValueError, KeyError, TypeError) as error:
            # It will be no event the next time either.
            raise Err(Failure_Reject(f"not an event: {error!r}")) from error
        try:
            on_event(*event)
        except Err as error:
            raise Err(Failure_Retry(Retry(f"the host answered {error.value}", None))) from error
        return None


def read(payload):
    """The network, the type and what is kept of an event."""
    event = json.loads(payload)
    # Zero and less are real magnitudes; an event that nobody has measured yet has none.
    mag = event.get("mag")
    quake = {"id": event["id"], "mag": None if mag is None else float(mag), "place": event["place"]}
    return event["net"], event["type"], quake


def on_event(net, kind, quake):
    with Bucket.open("quakes") as quakes:
        if quake["mag"] is not None:
            keep_largest(quakes, f"largest.{net}", quake)
            if quake["mag"] >= float(store.get("threshold") or THRESHOLD):
                pubsub.publish(f"alerts.{net}", encode(quake), None)

        # Counted last: should the event come again because something above failed, only this would be wrong if done twice.
        quakes.increment(f"events.{net}", 1)
        quakes.increment(f"types.{kind}", 1)


def keep_largest(quakes, key, quake):
    """Writes only over the revision that it has read, so that of two instances at once neither is lost."""
    while True:
        largest = quakes.get_entry(key)
        try:
            if largest is None:
                quakes.add(key, encode(quake), None)
            elif is_larger(quake, json.loads(largest.value)):
                quakes.update(key, encode(quake), largest.revision)
            return
        except Err as error:
            if not isinstance(error.value, Error_Conflict):
                raise


def is_larger(one, other):
    """Of two of the same magnitude, the one whose id comes first: instances take turns in no order."""
    return one["mag"] > other["mag"] or (one["mag"] == other["mag"] and one["id"] < other["id"])


def encode(value):
    return json.dumps(value).encode()
