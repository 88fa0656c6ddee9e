import com.okta.sdk.authc.credentials.TokenClientCredentials;
import com.okta.sdk.client.AuthorizationMode;
import com.okta.sdk.client.ClientBuilder;
import com.okta.sdk.client.Clients;
import com.okta.sdk.impl.oauth2.OAuth2ClientCredentials;
import com.okta.sdk.resource.api.GroupApi;
import com.okta.sdk.resource.api.UserApi;
import com.okta.sdk.resource.client.ApiClient;
import com.okta.sdk.resource.client.ApiException;
import com.okta.sdk.resource.common.PagedList;
import com.okta.sdk.resource.model.CreateUserRequest;
import com.okta.sdk.resource.model.UpdateUserRequest;
import com.okta.sdk.resource.model.User;
import com.okta.sdk.resource.model.UserProfile;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/** Okta's Java SDK against the gate: PASS or FAIL per scenario. */
public class Scenarios {
    private static volatile boolean failed;

    private static synchronized void say(boolean ok, String name, Object detail) {
        failed |= !ok;
        System.out.println((ok ? "PASS" : "FAIL") + " java " + name + (ok ? "" : ": " + detail));
    }

    private static ApiClient connect(String mode) {
        // The HTTP client under it does not wait longer for a retry than for an answer.
        ClientBuilder builder = Clients.builder().setOrgUrl(System.getenv("GATE_URL")).setRetryMaxAttempts(3).setRetryMaxElapsed(100).setConnectionTimeout(120);
        if (mode.equals("SSWS")) return builder.setClientCredentials(new TokenClientCredentials(System.getenv("CLIENT_KEY"))).build();
        boolean bound = mode.equals("DPoP");
        return builder.setAuthorizationMode(AuthorizationMode.PRIVATE_KEY).setClientId(bound ? "bound" : "plain")
            .setScopes(Set.of("okta.users.manage", "okta.groups.manage")).setPrivateKey(Path.of(System.getenv(bound ? "BOUND_KEY" : "PLAIN_KEY"))).build();
    }

    private static Runnable run(String mode) {
        ApiClient client = connect(mode);
        UserApi users = new UserApi(client);
        GroupApi groups = new GroupApi(client);

        int count = 0;
        String after = null;
        do {
            PagedList<User> page = (PagedList<User>) users.listUsers(null, null, after, 10, null, null, null, null);
            count += page.size();
            after = page.hasMoreItems() ? page.getAfter() : null;
        } while (after != null);
        say(count >= 26, mode + " list over pages", count);

        String login = "grace-java-" + mode.toLowerCase(Locale.ROOT) + "@example.com";
        UserProfile profile = new UserProfile();
        profile.setFirstName("Grace");
        profile.setLastName("Hopper");
        profile.setEmail(login);
        profile.setLogin(login);
        User user = users.createUser(new CreateUserRequest().profile(profile), true, null, null);
        say(user.getId() != null, mode + " create", user);
        UserProfile change = new UserProfile();
        change.setNickName("Amazing");
        User changed = users.updateUser(user.getId(), new UpdateUserRequest().profile(change), null);
        say("Amazing".equals(changed.getProfile().getNickName()), mode + " update", changed);
        say(users.getUser(login, null, null).getId().equals(user.getId()), mode + " by login", login);
        groups.assignUserToGroup(System.getenv("GROUP_ID"), user.getId());
        say(true, mode + " group membership", "");
        try {
            groups.listGroups(null, null, null, null, null, null, null, null);
            say(false, mode + " 403 says why", "it was allowed");
        } catch (ApiException refused) {
            String text = refused.getMessage() + refused.getResponseBody();
            say(refused.getCode() == 403 && text.contains("listGroups"), mode + " 403 says why", text);
        }
        if (!mode.equals("SSWS")) {
            // The SDK asks for another token when its own has ended: it is made to end now.
            OAuth2ClientCredentials credentials = (OAuth2ClientCredentials) client.getAuthentications().get("oauth2");
            String before = credentials.getCredentials().getAccessToken();
            credentials.getCredentials().setExpiresIn(0);
            users.listUsers(null, null, null, 1, null, null, null, null);
            say(!before.equals(credentials.getCredentials().getAccessToken()), mode + " token expiry in mid-run", "no new token");
        }
        return () -> {
            long began = System.currentTimeMillis();
            try {
                for (int i = 0; i < 6; i++) users.getUser(user.getId(), null, null);
                say(System.currentTimeMillis() - began > 5000, mode + " 429 wait", "no wait");
            } catch (Exception problem) {
                say(false, mode + " 429 wait", problem);
            }
        };
    }

    public static void main(String[] words) throws InterruptedException {
        List<Thread> waiting = new ArrayList<>();
        for (String mode : new String[] { "SSWS", "PrivateKey", "DPoP" }) {
            try {
                waiting.add(new Thread(run(mode)));
            } catch (Exception problem) {
                say(false, mode, problem);
            }
        }
        for (Thread thread : waiting) thread.start();
        for (Thread thread : waiting) thread.join();
        System.exit(failed ? 1 : 0);
    }
}
