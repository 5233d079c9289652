// Attention by cuDNN: what is asked of it, by a library that has its interface and is strict about it
// (cudnn_on_host/cudnn.cpp).
#include <memory>

#include "cuda/attention.h"
#include "tests/host_device.h"
#include "tests/kernels.h"
#include "tests/stored.h"
#include "tests/test.h"

using namespace distilmt;
using namespace distilmt::test;

namespace {

constexpr int64_t kLongest = 70, kHidden = 48, kHeads = 3;

// Packed sentences of these lengths, attended to by cuDNN; rows of nobody behind them.
struct Packed {
  Packed(Storage storage, std::vector<int64_t> lengths, std::vector<float> numbers)
      : begin(1, 0), qkv(storage, numbers), out(storage, numbers.size() / 3) {
    for (int64_t length : lengths) begin.push_back(begin.back() + static_cast<int32_t>(length));
    const int64_t sentences = static_cast<int64_t>(lengths.size()), stride = SentenceAttention::entries(sentences + 5);
    const auto table = std::unique_ptr<int32_t[]>(new int32_t[3 * stride]);  // 16-byte aligned, as operator new aligns
    const cuda::SentenceTable told{begin.data(), sentences, kHidden, stride, table.get()};
    CHECK(distilmt_cuda_tell_sentences(&told, nullptr) == 0);
    std::vector<unsigned char> workspace(kCudnnWorkspace);
    Cudnn cudnn(kCudnnOnHost, kCudnnWorkspace);
    cudnn.attend({{storage, kHidden, kHeads, kLongest}, qkv.data(), table.get(), stride, sentences, out.data()},
                 workspace.data(), nullptr);
    CHECK(cudnn.plans() == 1);
  }
  std::vector<int32_t> begin;
  Stored qkv, out;
};

}  // namespace

TEST(cuda_attention_by_cudnn_is_that_of_the_own_kernel) {
  std::vector<int64_t> lengths = {5, 0, 1, kLongest, 0};
  for (int i = 0; i < 150; ++i) lengths.push_back(i % 4);  // more than one call holds
  int64_t tokens = 2;                                      // two rows of nobody
  for (int64_t length : lengths) tokens += length;
  for (Storage storage : {Storage::float16, Storage::bfloat16}) {
    Packed all(storage, lengths, normal(tokens * 3 * kHidden, 1));
    Stored own(storage, tokens * kHidden);
    const cuda::PackedAttention a{storage,  all.qkv.data(), all.begin.data(), static_cast<int64_t>(lengths.size()),
                                  kLongest, kHidden,        kHeads,           own.data()};
    CHECK(distilmt_cuda_packed_attention(&a, nullptr) == 0);
    const auto expected = own.numbers(), got = all.out.numbers();
    for (int64_t c = 0; c < (tokens - 2) * kHidden; ++c) CHECK_NEAR(got[c], expected[c], 4 * rounding(storage));
    for (int64_t c = (tokens - 2) * kHidden; c < tokens * kHidden; ++c) CHECK(std::isnan(got[c]));
  }
}

TEST(cuda_attention_by_cudnn_is_the_same_in_any_company) {
  const auto numbers = normal(9 * 3 * kHidden, 2);
  const auto alone = Packed(Storage::float16, {9}, numbers).out.numbers();
  std::vector<int64_t> lengths(70, 2);
  lengths.push_back(9);
  auto many = normal(140 * 3 * kHidden, 3);
  many.insert(many.end(), numbers.begin(), numbers.end());
  const auto among = Packed(Storage::float16, lengths, many).out.numbers();
  CHECK(std::equal(alone.begin(), alone.end(), among.end() - 9 * kHidden));
}

TEST(cuda_attention_by_cudnn_says_what_it_cannot) {
  CHECK_THROWS(Cudnn("/nowhere/libcudnn.so.9", 0), "cannot open /nowhere/libcudnn.so.9");
  Cudnn little(kCudnnOnHost, 100), cudnn(kCudnnOnHost, kCudnnWorkspace);
  CHECK_THROWS(little.prepare({Storage::float16, 48, 3, 9}),
               "cuDNN cannot attend with 3 heads of 16 columns, choose attention=\"own\": it wants a workspace of 512");
  CHECK_THROWS(cudnn.prepare({Storage::float32, 48, 3, 9}), "it takes float16 and bfloat16");
  CHECK_THROWS(cudnn.prepare({Storage::float16, 36, 3, 9}), "heads of a multiple of 8 columns");
  try {
    cudnn.prepare({Storage::float16, 48, 3, int64_t{1} << 40});
    CHECK(false);
  } catch (const OutOfDeviceMemory& error) {  // which is said as it is, and not as a shape that cuDNN does not take
    CHECK(std::string(error.what()).rfind("cudnnBackendFinalize: ", 0) == 0);
  }
  CHECK(cudnn.plans() == 0);
  cudnn.prepare({Storage::float16, 48, 3, 9});
  cudnn.prepare({Storage::float16, 48, 3, 9});
  cudnn.prepare({Storage::bfloat16, 48, 3, 9});
  CHECK(cudnn.plans() == 2);
}
