"""A dead receiver on Apache Kafka, and the topic that its deliveries wait in."""

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from actionmap.app import prepare_parking
from actionmap.collect.topic import ensure_topic
from actionmap.deliver.parking import LONGEST_AGE_S, Gap
from actionmap.deliver.parking_topic import ParkedTopic
from actionmap.settings import load_settings
from dead_receiver import DeadReceiver
from kafka.apache import ApacheKafka


async def test_a_dead_receiver_neither_fills_the_outbox_nor_stalls_the_others_on_apache_kafka(
    apache: ApacheKafka, valkey: str, unique: str
) -> None:
    await DeadReceiver(apache.bootstrap, valkey, unique).check()


async def test_the_topic_keeps_what_is_parked_for_longer_than_any_parked_delivery_may_live(
    apache: ApacheKafka, unique: str
) -> None:
    await prepare_parking(load_settings(kafka_bootstrap_servers=apache.bootstrap, events_topic=unique), 3)
    admin = AIOKafkaAdminClient(bootstrap_servers=apache.bootstrap)
    await admin.start()
    try:
        (topic,) = await admin.describe_topics([f"{unique}.parked"])
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, f"{unique}.parked")])
    finally:
        await admin.close()
    config = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert len(topic["partitions"]) == 3
    assert int(config["retention.ms"]) > LONGEST_AGE_S * 1000


async def test_a_position_that_the_topic_does_not_hold_is_told_with_where_it_begins_and_ends(
    apache: ApacheKafka, unique: str
) -> None:
    await ensure_topic(apache.bootstrap, unique, 2)
    log = ParkedTopic(apache.bootstrap, unique)
    try:
        assert await log.append(1, [("a", b"1"), ("b", b"2"), ("large", b"x" * 2_000_000)]) == [0, 1, None]
        assert await log.read(1, 0, 9) == [(0, b"1"), (1, b"2")]
        assert await log.read(1, 1, 9) == [(1, b"2")]
        assert await log.read(1, 700, 9) == Gap(0, 2)
        assert await log.read(1, 0, 1) == [(0, b"1")]
        assert await log.read(0, 0, 9) == []
    finally:
        await log.close()
