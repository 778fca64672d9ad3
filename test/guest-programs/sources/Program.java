import java.util.*;
import java.util.concurrent.*;

public class Program {
  static int collatz(long n) {
    int steps = 0;
    for (; n != 1; steps++) n = (n & 1) == 0 ? n / 2 : 3 * n + 1;
    return steps;
  }

  public static void main(String[] args) throws Exception {
    int longest = 0;
    for (int i = 1; i < 100000; i++) longest = Math.max(longest, collatz(i));
    System.out.println("collatz " + longest);
    Map<String, Integer> counts = new TreeMap<>();
    Random random = new Random(42);
    for (int i = 0; i < 50000; i++) counts.merge("k" + random.nextInt(50), 1, Integer::sum);
    System.out.println(counts);
    ExecutorService pool = Executors.newFixedThreadPool(3);
    List<Future<Double>> parts = new ArrayList<>();
    for (int p = 0; p < 6; p++) {
      final int part = p;
      parts.add(pool.submit(() -> {
        double sum = 0;
        for (int i = 1; i < 50000; i++) sum += StrictMath.sin(i * part) / i;
        return sum;
      }));
    }
    double all = 0;
    for (Future<Double> each : parts) all += each.get();
    pool.shutdown();
    System.out.println("threads " + all);
    try {
      System.out.println(new int[3][2][args.length - 1]);
    } catch (RuntimeException error) {
      System.out.println(error);
    }
    try {
      Object nothing = args.length == 0 ? null : "";
      System.out.println(nothing.hashCode());
    } catch (NullPointerException error) {
      System.out.println("null");
    }
    long[] garbage = new long[0];
    for (int i = 0; i < 2000; i++) garbage = new long[5000 + garbage.length % 7];
    System.out.println(garbage.length);
  }
}
