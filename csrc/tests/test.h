// A test is a function that registers itself; CHECK says what failed and where, and the run goes on.
#pragma once
#include <cmath>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace distilmt::test {

struct Case {
  const char* name;
  std::function<void()> body;
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Register {
  Register(const char* name, std::function<void()> body) { cases().push_back({name, std::move(body)}); }
};

}  // namespace distilmt::test

#define TEST(name)                                                     \
  static void test_##name();                                           \
  static distilmt::test::Register register_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(condition)                                                           \
  do {                                                                             \
    if (!(condition)) {                                                            \
      ++distilmt::test::failures();                                                \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " << #condition << std::endl; \
    }                                                                              \
  } while (0)

#define CHECK_NEAR(a, b, tolerance)                                                                                    \
  do {                                                                                                                 \
    const double a_ = (a), b_ = (b);                                                                                   \
    if (!(std::abs(a_ - b_) <= (tolerance))) {                                                                         \
      ++distilmt::test::failures();                                                                                    \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " << #a << " = " << a_ << ", " << #b << " = " << b_ << std::endl; \
    }                                                                                                                  \
  } while (0)

#define CHECK_THROWS(expression, part)                                                                           \
  do {                                                                                                           \
    bool threw_ = false;                                                                                         \
    try {                                                                                                        \
      (void)(expression);                                                                                        \
    } catch (const std::exception& e) {                                                                          \
      threw_ = std::string(e.what()).find(part) != std::string::npos;                                            \
      if (!threw_) std::cerr << "message: " << e.what() << std::endl;                                            \
    }                                                                                                            \
    if (!threw_) {                                                                                               \
      ++distilmt::test::failures();                                                                              \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " << #expression << " did not throw " << part << std::endl; \
    }                                                                                                            \
  } while (0)
