// Okta's Go SDK against the gate: PASS or FAIL per scenario.
package main

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/okta/okta-sdk-golang/v5/okta"
	"github.com/patrickmn/go-cache"
)

var failed bool
var saying sync.Mutex

func say(ok bool, name string, detail any) {
	saying.Lock()
	defer saying.Unlock()
	if ok {
		fmt.Println("PASS go", name)
		return
	}
	failed = true
	fmt.Println("FAIL go", name+":", detail)
}

func read(name string) string {
	text, err := os.ReadFile(os.Getenv(name))
	if err != nil {
		panic(err)
	}
	return string(text)
}

func connect(mode string) *okta.APIClient {
	settings := []okta.ConfigSetter{okta.WithOrgUrl(os.Getenv("GATE_URL")), okta.WithCache(false), okta.WithRateLimitMaxRetries(2), okta.WithRateLimitMaxBackOff(90), okta.WithRequestTimeout(120)}
	switch mode {
	case "SSWS":
		settings = append(settings, okta.WithToken(os.Getenv("CLIENT_KEY")))
	case "PrivateKey":
		settings = append(settings, okta.WithAuthorizationMode("PrivateKey"), okta.WithClientId("plain"), okta.WithPrivateKey(read("PLAIN_KEY")), okta.WithScopes([]string{"okta.users.manage", "okta.groups.manage"}))
	case "DPoP":
		settings = append(settings, okta.WithAuthorizationMode("PrivateKey"), okta.WithClientId("bound"), okta.WithPrivateKey(read("BOUND_KEY")), okta.WithScopes([]string{"okta.users.manage", "okta.groups.manage"}))
	}
	configuration, err := okta.NewConfiguration(settings...)
	if err != nil {
		panic(err)
	}
	return okta.NewAPIClient(configuration)
}

// The SDK keeps a token until two seconds before its end; what it keeps is made to end now.
func expire(client *okta.APIClient) {
	kept := (*cache.Cache)(unsafe.Pointer(reflect.ValueOf(client).Elem().FieldByName("tokenCache").Pointer()))
	for name, item := range kept.Items() {
		kept.Set(name, item.Object, time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
}

func run(mode string) (wait func()) {
	wait = func() {}
	client := connect(mode)
	ctx := client.GetConfig().Context

	users, response, err := client.UserAPI.ListUsers(ctx).Limit(10).Execute()
	count := len(users)
	for err == nil && response.HasNextPage() {
		var more []okta.User
		response, err = response.Next(&more)
		count += len(more)
	}
	say(err == nil && count >= 26, mode+" list over pages", fmt.Sprint(err, count))
	if err != nil {
		return wait
	}

	login := "grace-go-" + strings.ToLower(mode) + "@example.com"
	profile := okta.NewUserProfile()
	profile.SetFirstName("Grace")
	profile.SetLastName("Hopper")
	profile.SetEmail(login)
	profile.SetLogin(login)
	user, _, err := client.UserAPI.CreateUser(ctx).Body(*okta.NewCreateUserRequest(*profile)).Execute()
	say(err == nil, mode+" create", err)
	if err != nil {
		return wait
	}
	change := okta.NewUserProfile()
	change.SetNickName("Amazing")
	request := okta.NewUpdateUserRequest()
	request.SetProfile(*change)
	changed, _, err := client.UserAPI.UpdateUser(ctx, user.GetId()).User(*request).Execute()
	say(err == nil && changed.Profile.GetNickName() == "Amazing", mode+" update", err)
	_, err = client.GroupAPI.AssignUserToGroup(ctx, os.Getenv("GROUP_ID"), user.GetId()).Execute()
	say(err == nil, mode+" group membership", err)

	_, refused, err := client.GroupAPI.ListGroups(ctx).Execute()
	text := ""
	if refused != nil {
		body, _ := io.ReadAll(refused.Body)
		text = string(body)
	}
	if err != nil {
		text += err.Error()
	}
	say(err != nil && strings.Contains(text, "listGroups"), mode+" 403 says why", text)

	if mode != "SSWS" {
		expire(client)
		_, _, err = client.UserAPI.ListUsers(ctx).Limit(1).Execute()
		say(err == nil, mode+" token expiry in mid-run", err)
	}
	return func() {
		began := time.Now()
		var err error
		for i := 0; i < 6 && err == nil; i++ {
			_, _, err = client.UserAPI.GetUser(ctx, user.GetId()).Execute()
		}
		say(err == nil && time.Since(began) > 5*time.Second, mode+" 429 wait", err)
	}
}

func main() {
	var together sync.WaitGroup
	var waits []func()
	for _, mode := range []string{"SSWS", "PrivateKey", "DPoP"} {
		waits = append(waits, run(mode))
	}
	for _, wait := range waits {
		together.Add(1)
		go func(wait func()) { defer together.Done(); wait() }(wait)
	}
	together.Wait()
	if failed {
		os.Exit(1)
	}
}
