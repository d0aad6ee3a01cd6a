// Learns the services from the running server by reflection and calls one, as grpcurl does.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "reflection_wire.pb.h"
#include "tests/controller/serve/service_fixture.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using google::protobuf::Message;
using test::ReflectionRequest;
using test::ReflectionResponse;

constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

grpc::ByteBuffer ToBytes(const Message& message) {
  grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

std::string FromBytes(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(bytes.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& slice : slices) text.append(slice.begin(), slice.end());
  return text;
}

class ReflectionTest : public ServiceTest {
 protected:
  // Makes a unary call by its path and returns the bytes of the response.
  std::string Call(const std::string& path, const Message& request) {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    grpc::GenericStub stub(channel_);
    grpc::CompletionQueue queue;
    auto call = stub.PrepareUnaryCall(&context, path, ToBytes(request), &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, this);
    Await(queue);
    EXPECT_TRUE(status.ok()) << path << ": " << status.error_message();
    return status.ok() ? FromBytes(answer) : "";
  }

  ReflectionResponse Reflect(const ReflectionRequest& request) {
    grpc::ClientContext context;
    context.set_deadline(Deadline());
    grpc::GenericStub stub(channel_);
    grpc::CompletionQueue queue;
    auto stream = stub.PrepareCall(&context, kReflection, &queue);
    stream->StartCall(this);
    Await(queue);
    stream->Write(ToBytes(request), this);
    Await(queue);
    grpc::ByteBuffer answer;
    stream->Read(&answer, this);
    Await(queue);
    ReflectionResponse response;
    EXPECT_TRUE(response.ParseFromString(FromBytes(answer)));
    stream->WritesDone(this);
    Await(queue);
    grpc::Status status;
    stream->Finish(&status, this);
    Await(queue);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  // Adds the file and its imports to `pool`.
  void Import(const std::string& symbol, google::protobuf::DescriptorPool* pool) {
    ReflectionRequest request;
    request.set_file_containing_symbol(symbol);
    Add(Reflect(request), pool);
  }

 private:
  static void Await(grpc::CompletionQueue& queue) {
    void* tag = nullptr;
    bool ok = false;
    ASSERT_TRUE(queue.Next(&tag, &ok));
    ASSERT_TRUE(ok);
  }

  void Add(const ReflectionResponse& response, google::protobuf::DescriptorPool* pool) {
    std::vector<google::protobuf::FileDescriptorProto> files;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      ASSERT_TRUE(files.emplace_back().ParseFromString(bytes));
    }
    for (const auto& file : files) AddFile(file, pool);
  }
  void AddFile(const google::protobuf::FileDescriptorProto& file,
               google::protobuf::DescriptorPool* pool) {
    if (pool->FindFileByName(file.name()) != nullptr) return;
    for (const std::string& name : file.dependency()) {
      if (pool->FindFileByName(name) != nullptr) continue;
      ReflectionRequest request;
      request.set_file_by_filename(name);
      Add(Reflect(request), pool);
    }
    ASSERT_NE(pool->BuildFile(file), nullptr) << file.name();
  }
};

TEST_F(ReflectionTest, AllServicesAreListed) {
  ReflectionRequest request;
  request.set_list_services("*");
  std::set<std::string> names;
  const ReflectionResponse response = Reflect(request);
  for (const auto& item : response.list_services_response().service()) {
    names.insert(item.name());
  }
  EXPECT_THAT(names,
              testing::IsSupersetOf({"trunkline.v1.LoadReportingService",
                                     "trunkline.v1.DiscoveryService", "trunkline.v1.WeightService",
                                     "trunkline.v1.AdminService", "grpc.health.v1.Health"}));
}

TEST_F(ReflectionTest, GetWeightsCanBeCalledThroughReflection) {
  TestAgent agent(channel_, "a");
  agent.Join(0.25);
  WaitForState("a", v1::ENDPOINT_STATE_FRESH);

  google::protobuf::DescriptorPool pool;
  Import("trunkline.v1.WeightService", &pool);
  const google::protobuf::ServiceDescriptor* service =
      pool.FindServiceByName("trunkline.v1.WeightService");
  ASSERT_NE(service, nullptr);
  const google::protobuf::MethodDescriptor* method = service->FindMethodByName("GetWeights");
  ASSERT_NE(method, nullptr);

  google::protobuf::DynamicMessageFactory factory(&pool);
  std::unique_ptr<Message> request(factory.GetPrototype(method->input_type())->New());
  std::unique_ptr<Message> response(factory.GetPrototype(method->output_type())->New());
  ASSERT_TRUE(response->ParseFromString(Call("/trunkline.v1.WeightService/GetWeights", *request)));

  const std::string text = response->ShortDebugString();
  EXPECT_THAT(text, testing::HasSubstr("service: \"db\""));
  EXPECT_THAT(text, testing::HasSubstr("endpoint_id: \"a\""));
  EXPECT_THAT(text, testing::HasSubstr("utilization: 0.25"));
}

TEST_F(ReflectionTest, HealthCanBeCheckedThroughReflection) {
  google::protobuf::DescriptorPool pool;
  Import("grpc.health.v1.Health", &pool);
  const google::protobuf::ServiceDescriptor* service =
      pool.FindServiceByName("grpc.health.v1.Health");
  ASSERT_NE(service, nullptr);
  const google::protobuf::MethodDescriptor* method = service->FindMethodByName("Check");
  ASSERT_NE(method, nullptr);
  ASSERT_NE(service->FindMethodByName("Watch"), nullptr);
  google::protobuf::DynamicMessageFactory factory(&pool);
  std::unique_ptr<Message> request(factory.GetPrototype(method->input_type())->New());
  std::unique_ptr<Message> response(factory.GetPrototype(method->output_type())->New());
  ASSERT_TRUE(response->ParseFromString(Call("/grpc.health.v1.Health/Check", *request)));
  EXPECT_EQ(response->ShortDebugString(), "status: SERVING");
}

}  // namespace
}  // namespace trunkline
