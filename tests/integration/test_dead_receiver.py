"""A dead receiver beside a live one, through the whole engine, on the embedded broker and store."""

from dead_receiver import DeadReceiver


async def test_a_dead_receiver_neither_fills_the_outbox_nor_stalls_the_others_and_gets_all_when_it_is_back(
    broker: str, valkey: str, unique: str
) -> None:
    await DeadReceiver(broker, valkey, unique).check()
