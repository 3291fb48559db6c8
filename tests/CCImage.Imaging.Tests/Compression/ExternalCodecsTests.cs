using CCImage.Compression;

namespace CCImage.Tests.Compression;

public class ExternalCodecsTests
{
    [Fact]
    public void A_missing_assembly_is_a_typed_error_with_a_remedy()
    {
        ImageException error = Assert.Throws<ImageException>(() => ExternalCodecs.Load(() => null));
        Assert.Equal(ImageErrorId.ComponentMissing, error.Id);
        Assert.Contains("bin/private", error.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void An_assembly_without_the_type_is_the_same_error() =>
        Assert.Equal(ImageErrorId.ComponentMissing, Assert.Throws<ImageException>(() => ExternalCodecs.Load(() => typeof(string).Assembly)).Id);
}
