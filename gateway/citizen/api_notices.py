"""The citizen API's ways out of the page: by which the citizen is told of notices, e-mail and web push."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.citizen.accounts import ACCOUNTS, Accounts
from gateway.citizen.api_answers import answer
from gateway.citizen.api_operations import Call, Operations
from gateway.citizen.contract import BASE
from gateway.citizen.documents import notice_channel_json, push_subscription_json
from gateway.citizen.errors import UnknownThing
from gateway.citizen.notice_channels import Channel, Choice
from gateway.citizen.notices import NoticeKind
from gateway.citizen.web import language_of

operations: Final = Operations()


@operations.handles("listNoticeChannels")
async def list_notice_channels(call: Call) -> web.Response:
    """The ways that were set up."""
    return await _channels(call)


@operations.handles("getNoticeChannel")
async def get_notice_channel(call: Call) -> web.Response:
    """One of them."""
    return answer(call.request, notice_channel_json(await _choice(call, Channel(call.path["channel"]))))


@operations.handles("setMailAddress")
async def set_mail_address(call: Call) -> web.Response:
    """A new address: a code is sent there."""
    language = call.body.get("language", language_of(call.request))
    await _accounts(call).ask_for_mail(call.person, call.body["address"], language=language)
    return answer(call.request, notice_channel_json(await _choice(call, Channel.MAIL)), status=202)


@operations.handles("confirmMailAddress")
async def confirm_mail_address(call: Call) -> web.Response:
    """The code from the mail."""
    await _accounts(call).channels.confirm_mail(call.person, call.body["code"])
    return answer(call.request, notice_channel_json(await _choice(call, Channel.MAIL)))


@operations.handles("chooseNotices")
async def choose_notices(call: Call) -> web.Response:
    """Which kinds go this way, and how."""
    channel = Channel(call.path["channel"])
    before = await _choice(call, channel)
    await _accounts(call).channels.choose(
        call.person,
        channel,
        kinds=[NoticeKind(kind) for kind in call.body.get("kinds", before.kinds)],
        detailed=call.body.get("detailed", before.detailed),
        language=call.body.get("language", before.language),
    )
    return answer(call.request, notice_channel_json(await _choice(call, channel)))


@operations.handles("removeNoticeChannel")
async def remove_notice_channel(call: Call) -> web.Response:
    """No longer this way."""
    await _accounts(call).channels.remove(call.person, Channel(call.path["channel"]))
    return await _channels(call)


@operations.handles("listPushSubscriptions")
async def list_push_subscriptions(call: Call) -> web.Response:
    """The browsers and apps that are told."""
    found = await _accounts(call).channels.subscribed(call.person)
    return call.answer_page("subscriptions", found, lambda one: (-one.created_ms, one.id), push_subscription_json)


@operations.handles("subscribeToPush")
async def subscribe_to_push(call: Call) -> web.Response:
    """Tells one more."""
    accounts = _accounts(call)
    identifier = await accounts.subscribe(call.person, call.body, language=language_of(call.request))
    document = push_subscription_json(await accounts.channels.subscription(call.person, identifier))
    location = f"{BASE}/push-subscriptions/{identifier}"
    return answer(call.request, document, status=201, headers={"Location": location})


@operations.handles("getPushSubscription")
async def get_push_subscription(call: Call) -> web.Response:
    """One of them."""
    found = await _accounts(call).channels.subscription(call.person, call.path["id"])
    return answer(call.request, push_subscription_json(found))


@operations.handles("unsubscribeFromPush")
async def unsubscribe_from_push(call: Call) -> web.Response:
    """Tells one less."""
    channels = _accounts(call).channels
    gone = await channels.subscription(call.person, call.path["id"])
    await channels.unsubscribe(call.person, gone.id)
    return answer(call.request, push_subscription_json(gone))


def _accounts(call: Call) -> Accounts:
    return call.request.app[ACCOUNTS]


async def _choice(call: Call, channel: Channel) -> Choice:
    found = (await _accounts(call).channels.of(call.person)).get(channel)
    if found is None:
        raise UnknownThing(channel.value)
    return found


async def _channels(call: Call) -> web.Response:
    accounts = _accounts(call)
    chosen = await accounts.channels.of(call.person)
    document = {
        "byMail": accounts.settings.by_mail,
        "pushKey": accounts.delivery.push_key or None,
        "channels": [notice_channel_json(chosen[channel]) for channel in Channel if channel in chosen],
    }
    return answer(call.request, document)
