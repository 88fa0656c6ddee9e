"""Okta's Python SDK against the gate: PASS or FAIL per scenario."""
import asyncio
import os
import re
import sys
import time
import warnings

warnings.filterwarnings("ignore")
from okta.client import Client  # noqa: E402
import okta.models as models  # noqa: E402

URL, GROUP = os.environ["GATE_URL"], os.environ["GROUP_ID"]
failed = False


def say(ok, name, detail=""):
    global failed
    failed = failed or not ok
    print(f"{'PASS' if ok else 'FAIL'} python {name}{'' if ok else ': ' + str(detail)}", flush=True)


def config(mode):
    common = {"orgUrl": URL, "cache": {"enabled": False}, "rateLimit": {"maxRetries": 2}}
    if mode == "SSWS":
        return {**common, "token": os.environ["CLIENT_KEY"]}
    bound = mode == "DPoP"
    return {
        **common,
        "authorizationMode": "PrivateKey",
        "clientId": "bound" if bound else "plain",
        "scopes": ["okta.users.manage", "okta.groups.manage"],
        "privateKey": open(os.environ["BOUND_KEY" if bound else "PLAIN_KEY"]).read(),
        **({"dpopEnabled": True} if bound else {}),
    }


async def scenarios(mode):
    client = Client(config(mode))

    users, response, error = await client.list_users(limit=10)
    count = 0 if error else len(users)
    while not error:
        following = re.search(r'after=([^&>]+)[^>]*>; ?rel="next"', str(response.headers))
        if following is None:
            break
        users, response, error = await client.list_users(limit=10, after=following[1])
        count += 0 if error else len(users)
    say(error is None and count >= 26, f"{mode} list over pages", error or count)

    login = f"grace-{mode.lower()}@example.com"
    profile = {"firstName": "Grace", "lastName": "Hopper", "email": login, "login": login}
    user, _, error = await client.create_user(models.CreateUserRequest(profile=models.UserProfile(**profile)), activate=True)
    say(error is None and user is not None, f"{mode} create", error)
    if error is None:
        changed, _, error = await client.update_user(user.id, models.UpdateUserRequest(profile=models.UserProfile(nickName="Amazing")))
        say(error is None and changed.profile.nick_name == "Amazing", f"{mode} update", error)
        _, _, error = await client.assign_user_to_group(GROUP, user.id)
        say(error is None, f"{mode} group membership", error)

    result = await client.list_groups()
    text = str(result[-1])
    say(result[-1] is not None and "listGroups" in text, f"{mode} 403 says why", text)
    return client, user


async def expiry(mode, client):
    """The SDK renews five minutes early: its note of the end is set so that this is now."""
    oauth = client._request_executor._oauth
    before = oauth._access_token
    oauth._access_token_expiry_time = int(time.time()) + 60
    _, _, error = await client.list_users(limit=1)
    say(error is None and oauth._access_token != before, f"{mode} token expiry in mid-run", error or "no new token")


async def wait(mode, client, user):
    began = time.time()
    errors = [(await client.get_user(user.id))[-1] for _ in range(6)]
    say(errors == [None] * 6 and time.time() - began > 5, f"{mode} 429 wait", errors)


async def main():
    waiting = []
    for mode in ["SSWS", "PrivateKey", "DPoP"]:
        try:
            client, user = await scenarios(mode)
            if mode != "SSWS":
                await expiry(mode, client)
            waiting.append((mode, client, user))
        except Exception as problem:  # noqa: BLE001
            say(False, mode, repr(problem))
    for outcome in await asyncio.gather(*(wait(*each) for each in waiting), return_exceptions=True):
        if outcome is not None:
            say(False, "429 wait", repr(outcome))
    sys.exit(1 if failed else 0)


asyncio.run(main())
