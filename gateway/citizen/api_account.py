"""The citizen API's account: devices, links, notices, complaints, and the export of everything."""

from __future__ import annotations

from functools import partial
from typing import Final

from aiohttp import web

from gateway.citizen.api_answers import answer
from gateway.citizen.api_operations import Call, Operations
from gateway.citizen.contract import BASE
from gateway.citizen.documents import complaint_json, device_json, link_json, notice_json
from gateway.citizen.export import build_archive, build_export
from gateway.citizen.linking import link_identity
from gateway.citizen.unlinking import end_link

operations: Final = Operations()


@operations.handles("listDevices")
async def list_devices(call: Call) -> web.Response:
    """The citizen's devices."""
    found = await call.citizen.devices.of(call.person)
    document = partial(device_json, current=call.session.device)
    return call.answer_page("devices", found, lambda one: (-one.created_ms, one.id), document)


@operations.handles("renameDevice")
async def rename_device(call: Call) -> web.Response:
    """Gives a device a name."""
    device = await call.citizen.devices.rename(call.person, call.path["id"], call.body["name"])
    return answer(call.request, device_json(device, current=call.session.device))


@operations.handles("revokeDevice")
async def revoke_device(call: Call) -> web.Response:
    """Ends a device, for good."""
    device = await call.citizen.devices.revoke(call.person, call.path["id"])
    return answer(call.request, device_json(device, current=call.session.device))


@operations.handles("listLinks")
async def list_links(call: Call) -> web.Response:
    """The linked accounts."""
    found = await call.citizen.links.of(call.person)
    return call.answer_page("links", found, lambda one: (-one.created_ms, one.id), link_json)


@operations.handles("linkIdentity")
async def link_to_identity(call: Call) -> web.Response:
    """Links the authority to who the login proves the citizen to be."""
    offered = (await call.citizen.catalogues.current()).find(call.body["service"])
    link = await link_identity(call.citizen, call.session, offered)
    return answer(call.request, link_json(link), status=201, headers={"Location": f"{BASE}/links/{link.id}"})


@operations.handles("getLink")
async def get_link(call: Call) -> web.Response:
    """One linked account."""
    return answer(call.request, link_json(await call.citizen.links.get(call.person, call.path["id"])))


@operations.handles("unlink")
async def unlink(call: Call) -> web.Response:
    """Ends a link: 200 when the institution has confirmed, 202 when it hasn't."""
    link = await end_link(call.citizen, call.session, call.path["id"])
    return answer(call.request, link_json(link), status=200 if link.state == "ended" else 202)


@operations.handles("listNotices")
async def list_notices(call: Call) -> web.Response:
    """What the citizen is told."""
    found = await call.citizen.notices.of(call.person)
    wanted = [one for one in found if one.read_ms is None or not call.query["unread"]]
    return call.answer_page("notices", wanted, lambda one: (-one.at_ms, one.id), notice_json)


@operations.handles("readNotice")
async def read_notice(call: Call) -> web.Response:
    """The citizen has read it."""
    return answer(call.request, notice_json(await call.citizen.notices.mark_read(call.person, call.path["id"])))


@operations.handles("listComplaints")
async def list_complaints(call: Call) -> web.Response:
    """The citizen's complaints."""
    found = await call.citizen.complaints.of(call.person)
    return call.answer_page("complaints", found, lambda one: (-one.at_ms, one.id), complaint_json)


@operations.handles("complain")
async def complain(call: Call) -> web.Response:
    """Takes a complaint."""
    complaint = await call.citizen.complaints.add(call.person, text=call.body["text"], about=call.body.get("about", {}))
    location = f"{BASE}/complaints/{complaint.id}"
    return answer(call.request, complaint_json(complaint), status=201, headers={"Location": location})


@operations.handles("getComplaint")
async def get_complaint(call: Call) -> web.Response:
    """One complaint."""
    return answer(call.request, complaint_json(await call.citizen.complaints.get(call.person, call.path["id"])))


@operations.handles("exportEverything")
async def export_everything(call: Call) -> web.Response:
    """Everything, as one document or an archive."""
    document = await build_export(call.citizen, call.session, months=call.query["months"])
    if call.query["format"] == "zip":
        headers = {"Content-Disposition": 'attachment; filename="datenweg-export.zip"'}
        return web.Response(body=build_archive(document), content_type="application/zip", headers=headers)
    return answer(call.request, document)
