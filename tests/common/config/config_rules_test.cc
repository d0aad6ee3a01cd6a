// Tests the rules beyond single fields, with which all programs and `trunkctl check` agree.
#include "common/config/config_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/config/config.h"
#include "trunkline/v1/config.pb.h"

namespace trunkline {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

template <typename Config>
std::vector<std::string> ErrorsOf(const std::string& yaml) {
  Config config;
  const absl::Status parsed = ParseConfig(yaml, "test.yaml", &config);
  EXPECT_TRUE(parsed.ok()) << parsed;
  return FindErrors(config);
}

// `service` has the fields of one service besides its name.
std::vector<std::string> Controller(const std::string& service, const std::string& name = "db") {
  return ErrorsOf<v1::ControllerConfig>("services:\n  - {name: '" + name + "', " + service + "}\n");
}

std::vector<std::string> Agent(const std::string& more,
                               const std::string& service = "service: db, target: 'unix:/run/s'") {
  return ErrorsOf<v1::AgentConfig>("agent_id: a\ncontroller: 10.0.0.1:7070\n" + more +
                                   "\nservices:\n  - {" + service + "}\n");
}

std::vector<std::string> Proxy(const std::string& more, const std::string& id = "p") {
  return ErrorsOf<v1::ProxyConfig>("proxy_id: '" + id + "'\ncontroller: 10.0.0.1:7070\n" + more);
}

TEST(ConfigRulesTest, ValidFilesHaveNoErrors) {
  EXPECT_THAT(Controller("listen: '0.0.0.0:9000', endpoints: [{endpoint_id: a, address: 'h:1'}]"),
              IsEmpty());
  EXPECT_THAT(Agent("trunk_listen: 0.0.0.0:7073\ntrunk_advertise: m1.example:7073"), IsEmpty());
  EXPECT_THAT(Proxy("snapshot_file: /s\nhandover_socket: /h\n"), IsEmpty());
}

TEST(ConfigRulesTest, NothingListensOnAUnixSocket) {
  EXPECT_THAT(Controller("listen: 'unix:/run/x.sock'"),
              ElementsAre("services[0].listen: expected host:port; got \"unix:/run/x.sock\""));
  for (const char* field : {"grpc_listen", "admin_listen"}) {
    EXPECT_THAT(ErrorsOf<v1::ControllerConfig>(absl::StrCat(field, ": unix:/x\n")),
                ElementsAre(absl::StrCat(field, ": expected host:port; got \"unix:/x\"")));
  }
  EXPECT_THAT(Agent("trunk_listen: unix:/x"), ElementsAre(HasSubstr("trunk_listen: expected")));
  EXPECT_THAT(Agent("admin_listen: unix:/x"), ElementsAre(HasSubstr("admin_listen: expected")));
  EXPECT_THAT(Proxy("admin_listen: unix:/x"), ElementsAre(HasSubstr("admin_listen: expected")));
}

// A name may stand for several addresses, and its look-up could block those who listen.
TEST(ConfigRulesTest, NothingListensOnAHostName) {
  const auto refuses = [](const std::string& field) {
    return ElementsAre(AllOf(HasSubstr(field + ": expected an IP address and a port"),
                             HasSubstr("got \"localhost:9000\"")));
  };
  EXPECT_THAT(Controller("listen: 'localhost:9000'"), refuses("services[0].listen"));
  for (const char* field : {"grpc_listen", "admin_listen"}) {
    EXPECT_THAT(ErrorsOf<v1::ControllerConfig>(absl::StrCat(field, ": localhost:9000\n")),
                refuses(field));
  }
  EXPECT_THAT(Agent("trunk_listen: localhost:9000"), refuses("trunk_listen"));
  EXPECT_THAT(Agent("admin_listen: localhost:9000"), refuses("admin_listen"));
  EXPECT_THAT(Proxy("admin_listen: localhost:9000"), refuses("admin_listen"));
  for (const char* address : {"127.0.0.1:9000", "[::1]:9000", "[fe80::1%eth0]:9000", "[::]:0"}) {
    EXPECT_THAT(Controller(absl::StrCat("listen: '", address, "'")), IsEmpty()) << address;
  }
}

TEST(ConfigRulesTest, BindAddressIsAnIpAddressWithoutAPort) {
  for (const char* host : {"127.0.0.2", "::1", "[::1]", "fe80::1%eth0", "[fe80::1%eth0]", "::"}) {
    EXPECT_THAT(Proxy(absl::StrCat("bind_address: '", host, "'\n")), IsEmpty()) << host;
  }
  for (const char* host : {"10.0.0.1:9000", "[::1]:9000", "[10.0.0.1]", "localhost", "10.0.0.256",
                           "[::1", "::1]", "[]", "::1%", "unix:/x", "10.0.0.1 "}) {
    EXPECT_THAT(Proxy(absl::StrCat("bind_address: '", host, "'\n")),
                ElementsAre(AllOf(HasSubstr("bind_address: expected an IP address without a port"),
                                  HasSubstr(absl::StrCat("got \"", host, "\"")))))
        << host;
  }
  EXPECT_EQ(*ReadBindHost("bind_address", "[fe80::1%eth0]"), "fe80::1%eth0");
}

TEST(ConfigRulesTest, WildcardIsOneInAnySpelling) {
  for (const char* host : {"", "0.0.0.0", "::", "0::0", "::0", "::ffff:0.0.0.0"}) {
    EXPECT_TRUE(IsWildcardHost(host)) << host;
  }
  for (const char* host : {"127.0.0.1", "::1", "0.0.0.1", "h", "fe80::%eth0"}) {
    EXPECT_FALSE(IsWildcardHost(host)) << host;
  }
  EXPECT_THAT(Agent("trunk_advertise: '[0::0]:7073'"), ElementsAre(HasSubstr("wildcard")));
}

TEST(ConfigRulesTest, ControllerAndAgentAgreeOnNames) {
  for (const char* name : {"web api", "a/b"}) {
    EXPECT_THAT(Controller("listen: '0.0.0.0:1'", name),
                ElementsAre(HasSubstr("services[0].name")));
    EXPECT_THAT(Agent("", absl::StrCat("service: '", name, "', target: 'unix:/s'")),
                ElementsAre(HasSubstr("services[0].service")));
    EXPECT_THAT(Agent("", absl::StrCat("service: s, target: 'h:1', endpoint_id: '", name, "'")),
                ElementsAre(HasSubstr("services[0].endpoint_id")));
    EXPECT_THAT(
        Controller(absl::StrCat("listen: '0.0.0.0:1', endpoints: [{endpoint_id: '", name, "'}]")),
        ElementsAre(HasSubstr("services[0].endpoints[0].endpoint_id")));
    EXPECT_THAT(Proxy("", name), ElementsAre(HasSubstr("proxy_id")));
  }
}

TEST(ConfigRulesTest, AddressForProxiesIsNoWildcardAndHasAPort) {
  for (const char* address : {"0.0.0.0:7073", "[::]:7073", "10.0.0.1:0", "unix:/run/x"}) {
    EXPECT_THAT(Agent(absl::StrCat("trunk_advertise: '", address, "'")),
                ElementsAre(AllOf(HasSubstr("trunk_advertise: expected"), HasSubstr(address))));
    EXPECT_THAT(
        Agent("", absl::StrCat("service: db, target: 'h:1', server_advertise: '", address, "'")),
        ElementsAre(HasSubstr("services[0].server_advertise: expected")));
    EXPECT_THAT(
        Controller(absl::StrCat("listen: '0.0.0.0:1', endpoints: [{endpoint_id: a, address: '",
                                address, "'}]")),
        ElementsAre(HasSubstr("services[0].endpoints[0].address: expected")));
  }
}

// `a` and `b` are the addresses of two services.
std::vector<std::string> TwoServices(const std::string& a, const std::string& b) {
  return ErrorsOf<v1::ControllerConfig>("services:\n  - {name: a, listen: " + a +
                                        "}\n  - {name: b, listen: " + b + "}\n");
}

TEST(ConfigRulesTest, ListenersOfTwoServicesDiffer) {
  EXPECT_THAT(TwoServices("'127.0.0.1:1'", "'127.0.0.1:1'"),
              ElementsAre("services[1].listen: expected an address of its own; services a and b "
                          "both listen on 127.0.0.1:1"));
  EXPECT_THAT(TwoServices("'127.0.0.1:01'", "'127.0.0.1:1'"),
              ElementsAre(HasSubstr("services[1].listen")))
      << "the same, otherwise written";
  EXPECT_THAT(TwoServices("['10.0.0.1:1', '10.0.0.1:2']", "['10.0.0.1:3', '10.0.0.1:2']"),
              ElementsAre(HasSubstr("services[1].listen[1]: expected an address of its own")));
  EXPECT_THAT(TwoServices("'127.0.0.1:0'", "'127.0.0.1:0'"), IsEmpty()) << "a free port each";
}

// A proxy could open only one of the two.
TEST(ConfigRulesTest, WildcardAndItsHostsAreNotBothListenedOn) {
  EXPECT_THAT(TwoServices("'10.0.0.1:1'", "'0.0.0.0:1'"),
              ElementsAre(HasSubstr("service b cannot listen on 0.0.0.0:1 beside service a on "
                                    "10.0.0.1:1")));
  EXPECT_THAT(Controller("listen: ['[::]:1', '[::1]:1']"),
              ElementsAre(HasSubstr("services[0].listen[1]: expected an address of its own; "
                                    "service db cannot listen on [::1]:1")));
  EXPECT_THAT(TwoServices("['0.0.0.0:1', '[::]:1']", "['0.0.0.0:2', '[::1]:2']"), IsEmpty());
}

TEST(ConfigRulesTest, ServiceListensOnOneToSixteenAddresses) {
  const auto listen = [](int count) {
    std::string list;
    for (int i = 0; i < count; ++i) absl::StrAppend(&list, "'10.0.0.1:", i + 1, "', ");
    return Controller("listen: [" + list + "]");
  };
  EXPECT_THAT(listen(16), IsEmpty());
  EXPECT_THAT(listen(17), ElementsAre("services[0].listen: expected 1 to 16 addresses; got 17"));
  v1::ControllerConfig config;
  config.add_services()->set_name("db");
  EXPECT_THAT(FindErrors(config),
              ElementsAre("services[0].listen: expected 1 to 16 addresses; got 0"));
}

TEST(ConfigRulesTest, EachAddressOfAServiceObeysTheRule) {
  EXPECT_THAT(Controller("listen: ['10.0.0.1:1', 'unix:/run/x.sock', 'unix:/y']"),
              ElementsAre("services[0].listen[1]: expected host:port; got \"unix:/run/x.sock\"",
                          "services[0].listen[2]: expected host:port; got \"unix:/y\""));
  EXPECT_THAT(Controller("listen: ['10.0.0.1:1', '10.0.0.1:2', '10.0.0.1:1']"),
              ElementsAre("services[0].listen[2]: expected an address of its own; service db lists "
                          "10.0.0.1:1 twice"));
}

TEST(ConfigRulesTest, AddressesOfAllServicesAreBounded) {
  v1::ControllerConfig config;
  for (int i = 0; i < 2001; ++i) {
    if (i % 16 == 0) config.add_services()->set_name(absl::StrCat("s", i));
    config.mutable_services()->rbegin()->add_listen(absl::StrCat("10.0.0.1:", i + 1));
  }
  EXPECT_THAT(FindErrors(config), ElementsAre("services: expected at most 2000 addresses to listen "
                                              "on over all services; got 2001"));
  config.mutable_services()->RemoveLast();
  EXPECT_THAT(FindErrors(config), IsEmpty());
}

// `check` has the fields of a health check, `more` those of its service.
std::vector<std::string> Checked(const std::string& check,
                                 const std::string& more = "mode: direct") {
  return Controller("listen: '0.0.0.0:1', " + more + ", health_check: {" + check + "}");
}

TEST(ConfigRulesTest, HealthChecksOfAllKindsAreAccepted) {
  for (const char* check :
       {"tcp: {}", "tcp: {send: \"stats\\r\\n\", expect: 'STAT'}", "redis: {}", "http: {}",
        "http: {method: HEAD, path: '/live?x', host: www, expected_statuses: [200, '300-399']}",
        "tcp: {}, interval: 500ms", "tcp: {}, interval: 1s, timeout: 1s, rise: 1, fall: 1"}) {
    EXPECT_THAT(Checked(check), IsEmpty()) << check;
    EXPECT_THAT(Checked(check, "mode: message, message: {redis: {}}"), IsEmpty()) << check;
  }
}

TEST(ConfigRulesTest, HealthChecksAreForServersWithoutAgentsAndWithRoom) {
  EXPECT_THAT(Checked("tcp: {}", "mode: tunnel"),
              ElementsAre(HasSubstr("services[0].health_check: expected only with mode: direct or "
                                    "mode: message, because in mode: tunnel the agent")));
  EXPECT_THAT(Checked("tcp: {}", "policy: static"), ElementsAre(HasSubstr("mode: tunnel")));
  const auto with_limit = [](int limit) {
    return absl::StrCat("mode: message, message: {modbus_tcp: {}, max_connections: ", limit, "}");
  };
  EXPECT_THAT(Checked("tcp: {}", with_limit(1)),
              ElementsAre(HasSubstr("services[0].health_check: expected message.max_connections of "
                                    "at least 2, because one of them is kept for checks; got 1")));
  EXPECT_THAT(Checked("tcp: {}", with_limit(2)), IsEmpty());
}

TEST(ConfigRulesTest, BytesOfHealthChecksAreTextOrHexadecimal) {
  for (const char* check :
       {"tcp: {send_hex: '00000008 04d2162f', expect: N}", "tcp: {expect_hex: 0A1b}",
        "tcp: {send: PING, expect_hex: '2b 50'}", "tcp: {send_hex: 0001}"}) {
    EXPECT_THAT(Checked(check), IsEmpty()) << check;
  }
  for (const char* bytes : {"0", "0g", "0x00", "0 0", "00 0", " 00", "00 ", "00  01"}) {
    EXPECT_THAT(Checked(absl::StrCat("tcp: {send_hex: '", bytes, "'}")),
                ElementsAre(HasSubstr("health_check.tcp.send_hex: expected two hexadecimal digits "
                                      "for each byte, with or without single spaces between "
                                      "bytes, for example 00 01 ff")))
        << bytes;
  }
  EXPECT_THAT(Checked("tcp: {send: a, send_hex: '00'}"),
              ElementsAre(HasSubstr("health_check.tcp: expected one of send and send_hex; got "
                                    "both")));
  EXPECT_THAT(Checked("tcp: {expect: a, expect_hex: '00'}"),
              ElementsAre(HasSubstr("one of expect and expect_hex; got both")));
  EXPECT_THAT(Checked("tcp: {expect_hex: '" + std::string(2050, '0') + "'}"),
              ElementsAre(HasSubstr("health_check.tcp.expect_hex: expected at most 1024 bytes; got "
                                    "1025")));
}

// Configuration, snapshots and state files are read by many.
TEST(ConfigRulesTest, PasswordsOfRedisAreNotPartOfAHealthCheck) {
  for (const char* send :
       {"AUTH s3cr3t\\r\\nPING\\r\\n", "  auth app s3cr3t\\n", "PING\\r\\nAuth s3cr3t\\r\\n",
        "*2\\r\\n$4\\r\\nAUTH\\r\\n$6\\r\\ns3cr3t\\r\\n", "HELLO 3 AUTH default s3cr3t\\r\\n",
        "AUTH\\ts3cr3t"}) {
    const std::vector<std::string> errors = Checked(absl::StrCat("tcp: {send: \"", send, "\"}"));
    EXPECT_THAT(errors, ElementsAre(HasSubstr(
                            "health_check.tcp.send: expected no password, which would be in "
                            "configurations and snapshots; got a line with AUTH; use "
                            "health_check.redis with auth.password_file")))
        << send;
    EXPECT_THAT(errors, Not(testing::Contains(HasSubstr("s3cr3t"))));
  }
  EXPECT_THAT(Checked("tcp: {send_hex: '61757468 20 78'}"),
              ElementsAre(HasSubstr("health_check.tcp.send_hex: expected no password")));
  for (const char* send : {"AUTHOR\\n", "stat auth\\n", "GET /auth\\n", "HELLO 3\\r\\n"}) {
    EXPECT_THAT(Checked(absl::StrCat("tcp: {send: \"", send, "\"}")), IsEmpty()) << send;
  }
}

TEST(ConfigRulesTest, CredentialOfARedisCheckIsChecked) {
  EXPECT_THAT(Checked("redis: {auth: {user: app, password_file: /etc/cache.password}}"), IsEmpty());
  EXPECT_THAT(Checked("redis: {auth: {password_file: cache.password}}"),
              ElementsAre(HasSubstr("health_check.redis.auth.password_file: expected the absolute "
                                    "path of a file on every proxy; got \"cache.password\"")));
  EXPECT_THAT(Checked("redis: {auth: {user: 'a b', password_file: /p}}"),
              ElementsAre(HasSubstr("health_check.redis.auth.user: expected at most")));
}

TEST(ConfigRulesTest, ErrorsOfHealthChecksNameFieldAndValue) {
  const auto error = [](const std::string& text) { return ElementsAre(HasSubstr(text)); };
  EXPECT_THAT(Checked("interval: 1s"), error("health_check: expected one of tcp, http, redis"));
  EXPECT_THAT(Checked("tcp: {}, interval: 1s, timeout: 2s"),
              error("health_check.timeout: expected at most health_check.interval, which is 1s; "
                    "got 2s"));
  EXPECT_THAT(Checked("tcp: {}, timeout: 6s"), error("which is 5s; got 6s"));
  EXPECT_THAT(Checked("http: {method: CONNECT}"), error("http.method: expected a method"));
  EXPECT_THAT(Checked("http: {method: 'GET /'}"), error("got \"GET /\""));
  EXPECT_THAT(Checked("http: {path: live}"), error("http.path: expected a path that begins with"));
  EXPECT_THAT(Checked("http: {path: '/a b'}"), error("got \"/a b\""));
  EXPECT_THAT(Checked("http: {host: 'a b'}"), error("http.host: expected a host"));
  for (const char* status : {"99", "600", "2xx", "300-200", "200-", "-200", "200-299-300"}) {
    EXPECT_THAT(Checked(absl::StrCat("http: {expected_statuses: ['", status, "']}")),
                error(absl::StrCat("http.expected_statuses: expected a status code from 100 to 599 "
                                   "or a range such as 200-299; got \"",
                                   status, "\"")));
  }
  EXPECT_THAT(Checked("tcp: {expect: '" + std::string(1025, 'x') + "'}"),
              error("health_check.tcp.expect: expected at most 1024 bytes; got 1025"));
}

TEST(ConfigRulesTest, FieldsThatNeedEachOtherAreChecked) {
  EXPECT_THAT(Proxy("handover_socket: /h\n"), ElementsAre(HasSubstr("handover_socket: requires")));
  EXPECT_THAT(Agent("trunk_listen: 0.0.0.0:7073"), ElementsAre(HasSubstr("trunk_advertise")));
  EXPECT_THAT(Controller("listen: '0.0.0.0:1', message: {redis: {}}"),
              ElementsAre(HasSubstr("services[0].message: expected only with mode: message")));
}

}  // namespace
}  // namespace trunkline
